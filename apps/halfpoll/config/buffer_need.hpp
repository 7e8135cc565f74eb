// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace halfpoll
{

struct config;

/// Buffers that a thread keeps in its cache of the packet pool.
inline constexpr unsigned PACKET_CACHE = 256;

/// A place where packet buffers are, at most so many at once.
struct buffer_place {
    std::string name;
    std::uint64_t buffers = 0;
    bool at_rest = false; ///< also while nothing moves: ports that did not get them receive nothing
};

/// All places of a configuration.
std::vector<buffer_place> buffer_places(const config &cfg);

/// Without that many buffers halfpoll does not start.
std::uint64_t buffers_at_rest(const config &cfg);
/// With that many no port runs out of them, whatever the load.
std::uint64_t buffers_at_most(const config &cfg);
/// Bytes of `memory_mb` that so many buffers take, in MiB.
std::uint64_t buffer_megabytes(std::uint64_t buffers);

/// What to say if the pool is smaller than the places, and the settings that mend it; empty: it is large enough.
struct buffer_shortage {
    std::string problem, remedy;
};
buffer_shortage find_shortage(const config &cfg);

} // namespace halfpoll
