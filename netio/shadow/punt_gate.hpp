// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/slow_path.hpp>

#include "known_sources.hpp"
#include "punt_ring.hpp"

#include <array>
#include <atomic>
#include <cstdint>
#include <utility>

namespace halfpoll
{

/// Lets at most `burst` packets pass at once, and `packets_per_second` in the long run. One thread.
class token_bucket
{
public:
    /// Sets the limit; the bucket is full.
    void set(const punt_limit &limit, ktime_t now) noexcept;
    /// Sets another limit; saved tokens stay, as far as they fit.
    void change(const punt_limit &limit, ktime_t now) noexcept;
    /// Returns how many of n packets may pass now, and charges them.
    unsigned take(unsigned n, ktime_t now) noexcept;

private:
    static constexpr std::uint64_t token = NSEC_PER_SEC; ///< level of one token: each ns adds `rate_` to the level
    std::uint64_t rate_ = 0;
    std::uint64_t depth_ = 0;
    std::uint64_t level_ = 0;
    ktime_t last_ = 0;
};

/// Shares of a limit by the source of packets. The sources that fall into one bucket may use a quarter of the limit
/// together. All unknown sources together may use half of it, so that the other half is left for known sources, however
/// many sources are invented. One thread.
class fair_buckets
{
public:
    void set(const punt_limit &limit, ktime_t now) noexcept;
    /// Whether one more packet of that source may pass; charges it.
    bool take(source_id source, bool known, ktime_t now) noexcept
    {
        return buckets_[known][(source >> 32) % 256].take(1, now) == 1 && (known || strangers_.take(1, now) == 1);
    }

private:
    std::array<std::array<token_bucket, 256>, 2>
        buckets_; ///< [known][hash]: apart from each other, because unknown sources can fill all buckets
    token_bucket strangers_;
};

/// The way of one CPU to the slow path: policing, whose limits are the CPU's whatever the number of threads, then the
/// ring of the thread that the packet's flow belongs to.
class alignas(64) punt_gate
{
public:
    /// `known` outlives this object. `threads`: 1 to SLOW_PATH_THREADS_MAX. `ring_size`: packets in the ring of each
    /// thread. Throws `error`.
    punt_gate(const known_sources &known, const punt_limits &limits, unsigned threads, unsigned ring_size, ktime_t now);
    punt_gate(const punt_gate &) = delete;
    punt_gate &operator=(const punt_gate &) = delete;

    /// Polices packets and publishes those that pass; the others are dropped under their reason. Takes ownership.
    /// Producer, the home CPU.
    punt_result punt(net_cpu &cpu, shadow &to, punt_class c, rte_mbuf **pkts, unsigned n, ktime_t now) noexcept;
    /// Charges one packet, which punt() then lets pass. False: it may not be punted now. Producer.
    bool grant(punt_class c, ktime_t now) noexcept;
    /// Sets the limit of a class; shares by source start full. Producer.
    void set_limit(punt_class c, const punt_limit &limit, ktime_t now) noexcept;
    /// The threads for which packets were published since the last call, one bit each. Producer.
    std::uint32_t take_dirty() noexcept { return std::exchange(dirty_, 0); }

    /// The ring of a thread, its consumer.
    punt_ring &ring(unsigned thread) noexcept { return rings_[thread]; }
    /// Whether all rings are. Any thread.
    bool empty() const noexcept;

    std::uint64_t punted(punt_class c) const noexcept { return punted_[c].load(std::memory_order_relaxed); }
    std::uint64_t policed(punt_class c) const noexcept { return policed_[c].load(std::memory_order_relaxed); }

private:
    unsigned police(punt_class c, rte_mbuf **pkts, unsigned n, ktime_t now) noexcept;
    unsigned police_sources(fair_buckets &shares, rte_mbuf **pkts, unsigned n, ktime_t now) noexcept;
    unsigned put(unsigned thread, shadow &to, punt_class c, rte_mbuf *const *pkts, unsigned n) noexcept;
    unsigned put_by_flow(shadow &to, punt_class c, rte_mbuf **pkts, unsigned n) noexcept;

    std::array<punt_ring, SLOW_PATH_THREADS_MAX> rings_; ///< by thread
    unsigned threads_;
    std::uint32_t dirty_ = 0; ///< a bit for each thread
    const known_sources &known_;
    std::array<token_bucket, PUNT_CLASSES> buckets_;
    fair_buckets arp_nd_sources_, routing_sources_;
    std::array<std::atomic<std::uint64_t>, PUNT_CLASSES> punted_{};  ///< home CPU writes, any thread reads, relaxed
    std::array<std::atomic<std::uint64_t>, PUNT_CLASSES> policed_{}; ///< home CPU writes, any thread reads, relaxed
};

} // namespace halfpoll
