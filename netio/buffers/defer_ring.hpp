// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <atomic>
#include <cstdint>

struct rte_mbuf;

namespace halfpoll
{

/// Free segments of one pool on their way from the CPU that freed them to the CPU that received them. Apart from the
/// slots, neither side writes a cache line of the other side.
class defer_ring
{
public:
    static constexpr std::uint32_t SLOTS = 1024;

    // --- freeing CPU ---
    /// Segments put and not known to be taken. Reads the consumer's position again only if there seem to be `limit` or
    /// more.
    std::uint32_t length(std::uint32_t limit) noexcept
    {
        if (put_ - seen_head_ >= limit) {
            seen_head_ = head_.load(std::memory_order_acquire); // pairs with the release in take()
        }
        return put_ - seen_head_;
    }
    /// The caller has checked that fewer than SLOTS segments wait.
    void put(rte_mbuf *m) noexcept { slots_[put_++ % SLOTS] = m; }
    /// Makes the segments that were put visible. True: this raised the number of waiting segments to more than
    /// `kick_at`.
    bool publish(std::uint32_t kick_at) noexcept
    {
        const std::uint32_t before = tail_.load(std::memory_order_relaxed) - seen_head_;
        const std::uint32_t after = put_ - seen_head_;
        tail_.store(put_, std::memory_order_release); // pairs with the acquire in take()
        return before <= kick_at && kick_at < after;
    }
    bool staged() const noexcept { return put_ != tail_.load(std::memory_order_relaxed); }

    // --- receiving CPU ---
    /// Takes up to n segments; returns how many.
    std::uint32_t take(rte_mbuf **pkts, std::uint32_t n) noexcept
    {
        const std::uint32_t head = head_.load(std::memory_order_relaxed);
        const std::uint32_t waiting =
            tail_.load(std::memory_order_acquire) - head; // pairs with the release in publish()
        n = n < waiting ? n : waiting;
        for (std::uint32_t i = 0; i < n; ++i) {
            pkts[i] = slots_[(head + i) % SLOTS];
        }
        if (n != 0) {
            head_.store(head + n, std::memory_order_release); // pairs with the acquire in length()
        }
        return n;
    }

private:
    // The freeing CPU's own members; tail_ is what it publishes.
    alignas(128) std::uint32_t put_ = 0;
    std::uint32_t seen_head_ = 0;
    alignas(128) std::atomic<std::uint32_t> tail_{0};
    alignas(128) std::atomic<std::uint32_t> head_{0};
    alignas(128) rte_mbuf *slots_[SLOTS] = {};
};

} // namespace halfpoll
