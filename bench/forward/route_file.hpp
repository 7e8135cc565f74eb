// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

/// A route of the benchmark's table, in the format of the scenario's file (native byte order).
struct bench_route {
    std::uint32_t addr; ///< host order
    std::uint32_t len;
    std::uint32_t nexthop; ///< 0 to bench_nexthops - 1
};
inline constexpr unsigned bench_nexthops = 16;

inline std::vector<bench_route> read_routes(const std::string &path)
{
    std::ifstream in(path, std::ios::binary | std::ios::ate);
    std::vector<bench_route> routes(in ? static_cast<std::size_t>(in.tellg()) / sizeof(bench_route) : 0);
    in.seekg(0);
    if (!in.read(reinterpret_cast<char *>(routes.data()),
                 static_cast<std::streamsize>(routes.size() * sizeof(bench_route)))) {
        throw std::runtime_error(path + ": cannot be read");
    }
    return routes;
}
