// SPDX-License-Identifier: BSD-3-Clause
#include "redirect.hpp"

#include <algorithm>

namespace halfpoll
{

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
