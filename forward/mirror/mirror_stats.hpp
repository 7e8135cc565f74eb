// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>

namespace halfpoll
{

struct mirror_stats {
    std::uint64_t messages = 0; ///< netlink messages applied
    std::uint64_t resyncs = 0;  ///< full dumps: at start, after an overrun (ENOBUFS), on request
    std::uint64_t ignored = 0;  ///< messages about objects that are not mirrored
    std::uint64_t errors = 0; ///< changes that could not be applied: the device refused them, or a prefix found no room
    std::uint64_t probes = 0; ///< neighbours that were reported to the kernel as in use
    /// Prefixes that the kernel alone forwards at present, since a table of the forwarder is full (PUNT_TABLE_FULL).
    /// They are tried again every second, and more often while room is found.
    std::uint64_t without_room = 0;
    /// Prefixes that the kernel alone forwards, since one of their routes depends on the TOS or the source of a packet.
    std::uint64_t special_prefixes = 0;
};

} // namespace halfpoll
