// SPDX-License-Identifier: BSD-3-Clause
#include "redirect.hpp"

#include <linux/bpf.h>

#include <algorithm>
#include <cerrno>

namespace halfpoll
{

const char *to_string(xdp_map_type type) noexcept
{
    switch (type) {
    case xdp_map_type::devmap:
        return "devmap";
    case xdp_map_type::devmap_hash:
        return "devmap_hash";
    case xdp_map_type::cpumap:
        return "cpumap";
    case xdp_map_type::xskmap:
        break;
    }
    return "xskmap";
}

namespace
{

struct known_error {
    int number;
    const char *name;
};
constexpr std::array<known_error, static_cast<std::size_t>(xdp_error::count)> known_errors = {{{EINVAL, "EINVAL"},
                                                                                               {ENOENT, "ENOENT"},
                                                                                               {ENETDOWN, "ENETDOWN"},
                                                                                               {EMSGSIZE, "EMSGSIZE"},
                                                                                               {ENOMEM, "ENOMEM"},
                                                                                               {ENOBUFS, "ENOBUFS"}}};

} // namespace

const char *to_string(xdp_error err) noexcept { return known_errors[static_cast<std::size_t>(err)].name; }

int to_errno(xdp_error err) noexcept { return known_errors[static_cast<std::size_t>(err)].number; }

std::uint64_t xdp_redirect_errors(const net_core &core, xdp_error err) noexcept
{
    std::uint64_t sum = 0;
    for (unsigned c = 0; c < core.cpus(); ++c) {
        sum += core.cpu(c).redirect->errors[static_cast<std::size_t>(err)].load(std::memory_order_relaxed);
    }
    return sum;
}

std::shared_ptr<xdp_map> xdp_map_create(net_core &core, const std::string &name, xdp_map_type type,
                                        unsigned max_entries)
{
    if (name.empty() || xdp_map_find(core, name)) {
        throw error("XDP map name \"" + name + "\" is empty or in use already");
    }
    if (max_entries > XDP_MAP_MAX_ENTRIES) {
        throw error("XDP map " + name + ": at most " + std::to_string(XDP_MAP_MAX_ENTRIES) + " entries, not " +
                    std::to_string(max_entries));
    }
    constexpr unsigned default_entries = 256;
    std::shared_ptr<xdp_map> map;
    switch (type) {
    case xdp_map_type::devmap:
    case xdp_map_type::devmap_hash:
        map = make_devmap(core, name, type, max_entries != 0 ? max_entries : default_entries);
        break;
    case xdp_map_type::cpumap:
        map = make_cpumap(core, name, max_entries != 0 ? max_entries : core.cpus());
        break;
    case xdp_map_type::xskmap:
        map = make_xskmap(core, name, max_entries != 0 ? max_entries : default_entries);
        break;
    }
    core.redirect().maps.push_back(map);
    return map;
}

std::shared_ptr<xdp_map> xdp_map_find(const net_core &core, const std::string &name)
{
    const auto &maps = core.redirect().maps;
    const auto it = std::ranges::find_if(maps, [&](const auto &map) { return map->name == name; });
    return it == maps.end() ? nullptr : *it;
}

std::vector<std::shared_ptr<xdp_map>> xdp_maps(const net_core &core) { return core.redirect().maps; }

void xdp_map_destroy(net_core &core, xdp_map &map) noexcept
{
    map.clear();
    std::erase_if(core.redirect().maps, [&](const auto &m) { return m.get() == &map; });
}

void xdp_map_check_key(const xdp_map &map, std::uint32_t key, bool in_range)
{
    if (!in_range) {
        throw error("XDP map " + map.name + ": keys are " +
                    (map.type == xdp_map_type::cpumap ? "runtime CPUs" : "0 to ") +
                    (map.type == xdp_map_type::cpumap ? "" : std::to_string(map.max_entries - 1)) + ", not " +
                    std::to_string(key));
    }
}

void xdp_map_check_flags(const xdp_map &map, std::uint32_t key, bool exists, bool full, std::uint64_t flags)
{
    const std::string what = "XDP map " + map.name + ": key " + std::to_string(key);
    if (flags > BPF_EXIST) {
        throw error(what + ": flags may be BPF_ANY, BPF_NOEXIST or BPF_EXIST");
    }
    if (exists && flags == BPF_NOEXIST) {
        throw error(what + " has an entry already");
    }
    if (!exists && flags == BPF_EXIST) {
        throw error(what + " has no entry");
    }
    if (!exists && full) {
        throw error(what + ": the map is full with " + std::to_string(map.max_entries) + " entries");
    }
}

void redirect_register(net_core &core, net_device &dev) noexcept
{
    core.redirect().devs[dev.ifindex].store(&dev, std::memory_order_release); // pairs with redirect_to_ifindex()
}

void redirect_unregister(net_core &core, net_device &dev) noexcept
{
    redirect_state &state = core.redirect();
    state.devs[dev.ifindex].store(nullptr, std::memory_order_release);
    for (const auto &map : state.maps) {
        map->unlink_device(dev);
    }
    core.rt().synchronize_rcu();
    for (const auto &map : state.maps) {
        map->free_removed();
    }
}

} // namespace halfpoll
