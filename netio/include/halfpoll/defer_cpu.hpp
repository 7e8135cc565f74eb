// SPDX-License-Identifier: BSD-3-Clause
//
// Not part of the API: net_cpu.hpp needs it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

namespace halfpoll
{

class defer_ring;
struct defer_ring_deleter {
    void operator()(defer_ring *ring) const noexcept;
};
using defer_ring_ptr = std::unique_ptr<defer_ring, defer_ring_deleter>;

/// The way of freed packets back to the CPU that received them. Home CPU only, but for the counters.
struct defer_cpu {
    /// CPU that received the packets being delivered; net_cpu::id unless they came by the backlog and skb_defer_max is
    /// not 0.
    unsigned receiver = 0;
    std::vector<defer_ring *> out;  ///< by receiving CPU: packets of that CPU that were freed here
    std::vector<defer_ring_ptr> in; ///< by freeing CPU
    /// Segments of other CPUs' packets that were freed here. `deferred`: sent back. `over`: freed on the spot, because
    /// skb_defer_max segments were waiting or the segment is of another pool. This CPU writes, any thread reads,
    /// relaxed.
    std::atomic<std::uint64_t> deferred{0}, over{0};
};

} // namespace halfpoll
