// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <atomic>
#include <cstdint>

struct rte_mbuf;

namespace halfpoll
{

/// Free packets of one pool on their way from the CPU that was done with them to the CPU that had received them.
/// Neither side writes a cache line of the other's but the slots.
class defer_ring
{
public:
    static constexpr std::uint32_t SLOTS = 1024;

    // --- freeing CPU ---
    /// Packets put and not known to be taken, looked up anew only if there seem to be `limit` or more.
    std::uint32_t length(std::uint32_t limit) noexcept
    {
        if (put_ - seen_head_ >= limit) {
            seen_head_ = head_.load(std::memory_order_acquire); // pairs with the release in take()
        }
        return put_ - seen_head_;
    }
    /// There are fewer than SLOTS.
    void put(rte_mbuf *m) noexcept { slots_[put_++ % SLOTS] = m; }
    /// True if this brought the number of those that wait to more than `kick_at`.
    bool publish(std::uint32_t kick_at) noexcept
    {
        const std::uint32_t before = tail_.load(std::memory_order_relaxed) - seen_head_;
        const std::uint32_t after = put_ - seen_head_;
        tail_.store(put_, std::memory_order_release); // pairs with the acquire in take()
        return before <= kick_at && kick_at < after;
    }
    bool staged() const noexcept { return put_ != tail_.load(std::memory_order_relaxed); }

    // --- the CPU that they go to ---
    /// Takes up to n.
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
    // The freeing CPU's own, and what it publishes.
    alignas(128) std::uint32_t put_ = 0;
    std::uint32_t seen_head_ = 0;
    alignas(128) std::atomic<std::uint32_t> tail_{0};
    alignas(128) std::atomic<std::uint32_t> head_{0};
    alignas(128) rte_mbuf *slots_[SLOTS] = {};
};

} // namespace halfpoll
