// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/xdp_map.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace halfpoll
{

struct config;
class problem_list;
class toml_reader;

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

/// Reads the tables below [xdp_map]. Call after reading ports and programs, which the entries name.
void read_xdp_maps(toml_reader &root, problem_list &problems, config &out);

} // namespace halfpoll
