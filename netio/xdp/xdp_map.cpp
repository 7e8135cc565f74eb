// SPDX-License-Identifier: BSD-3-Clause
#include "redirect.hpp"

#include <linux/bpf.h>

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

} // namespace halfpoll
