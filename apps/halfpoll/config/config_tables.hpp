// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "config.hpp"
#include "toml_reader.hpp"

namespace halfpoll
{

// Each function reads one table of the file, from its key in `root` into `out`, and adds the mistakes to `problems`.
// parse_config() calls the functions in the order below: some use what an earlier one has read.

/// The keys from which the packet pool is sized; null: the file does not set the key.
struct pool_keys {
    const toml::node *mbufs = nullptr;
    const toml::node *memory_mb = nullptr;
};

/// [runtime]
pool_keys read_runtime(toml_reader &root, problem_list &problems, const machine &on, config &out);
/// [xdp.NAME]
void read_xdp_programs(toml_reader &root, problem_list &problems, config &out);
/// [[port]]
void read_ports(toml_reader &root, problem_list &problems, config &out);
/// [xdp_map.NAME]
void read_xdp_maps(toml_reader &root, problem_list &problems, config &out);
/// [forward]
void read_forward(toml_reader &root, problem_list &problems, config &out);
/// [punt.CLASS]
void read_punt(toml_reader &root, problem_list &problems, config &out);
/// [log]
void read_log(toml_reader &root, problem_list &problems, config &out);
/// [autoscale]
void read_autoscale(toml_reader &root, problem_list &problems, config &out);

/// What a setting needs that makes more than one bottom-half thread on a CPU, for messages.
inline constexpr const char *NEEDS_LOCKS =
    "exclusion = \"big\" or \"nested\" in [runtime] with it, for it makes several bottom-half threads on a CPU";

} // namespace halfpoll
