// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/xdp_map.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace halfpoll
{

/// An entry of a redirect map, as the file or `halfpoll xdp map update` sets it.
struct xdp_map_entry_config {
    std::uint32_t key = 0;
    std::string port;   ///< target in a devmap or xskmap
    unsigned qsize = 0; ///< of a cpumap
    std::string xdp;    ///< NAME of an [xdp.NAME]; empty: no program
    bool operator==(const xdp_map_entry_config &) const = default;
};

/// [xdp_map.NAME]
struct xdp_map_config {
    std::string name;
    xdp_map_type type = xdp_map_type::devmap;
    unsigned max_entries = 0; ///< 0: the default of xdp_map_create()
    std::vector<xdp_map_entry_config> entries;
    bool operator==(const xdp_map_config &) const = default;
};

} // namespace halfpoll
