// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace halfpoll
{

struct config;

/// Capacity of a thread's cache of the packet pool, in buffers.
inline constexpr unsigned PACKET_CACHE = 256;

/// A place that holds at most `buffers` packet buffers at once.
struct buffer_place {
    std::string name;
    std::uint64_t buffers = 0;
    bool at_rest = false; ///< it holds them without traffic too; a port that cannot get them receives nothing
};

/// All places that a configuration has.
std::vector<buffer_place> buffer_places(const config &cfg);

/// halfpoll does not start with fewer buffers.
std::uint64_t buffers_at_rest(const config &cfg);
/// With this many buffers, no port runs out of them under any load.
std::uint64_t buffers_at_most(const config &cfg);
/// The part of `memory_mb` that the buffers take, in MiB.
std::uint64_t buffer_megabytes(std::uint64_t buffers);

/// The message for a pool that is smaller than the places, and the settings that mend it. Empty: the pool is large
/// enough.
struct buffer_shortage {
    std::string problem, remedy;
};
buffer_shortage find_shortage(const config &cfg);

} // namespace halfpoll
