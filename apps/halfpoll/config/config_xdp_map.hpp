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

/// An entry of a redirect map, as the file and `halfpoll xdp map update` say it.
struct xdp_map_entry_config {
    std::uint32_t key = 0;
    std::string port;   ///< devmap, xskmap
    unsigned qsize = 0; ///< cpumap
    std::string xdp;    ///< NAME of an [xdp.NAME]; empty: none
    bool operator==(const xdp_map_entry_config &) const = default;
};

/// [xdp_map.NAME]
struct xdp_map_config {
    std::string name;
    xdp_map_type type = xdp_map_type::devmap;
    unsigned max_entries = 0; ///< 0: as xdp_map_create() says
    std::vector<xdp_map_entry_config> entries;
    bool operator==(const xdp_map_config &) const = default;
};

/// Reads the tables below [xdp_map], after ports and programs, which they name.
void read_xdp_maps(toml_reader &root, problem_list &problems, config &out);

} // namespace halfpoll
