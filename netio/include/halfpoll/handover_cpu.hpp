// SPDX-License-Identifier: BSD-3-Clause
//
// Not part of the API: net_cpu.hpp needs it.
#pragma once

#include <halfpoll/cpu_napi.hpp>

#include <atomic>
#include <cstdint>
#include <vector>

struct rte_ring;

namespace halfpoll
{

/// Hand-over of packets to the CPUs that own tx queues. Home CPU only, but for `sent`.
struct handover_cpu {
    cpu_napi napi;              ///< polls the rings in `in`
    std::vector<rte_ring *> in; ///< by producer: runtime CPUs, then foreign threads
    /// By producing runtime CPU: position of its ring after the packets that were sent. Stored with release in
    /// publish_sent(); pairs with the acquire in handover_at().
    std::vector<std::atomic<std::uint32_t>> sent;
    unsigned next = 0;       ///< producer whose ring is served first in the next poll
    std::vector<bool> dirty; ///< by target CPU: filled in this poll, not yet scheduled
    unsigned targets = 0;    ///< number of targets that are set in `dirty`
};

} // namespace halfpoll
