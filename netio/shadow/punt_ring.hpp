// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/slow_path.hpp>

#include "known_sources.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace halfpoll
{

/// At most `burst` packets at once and `packets_per_second` in the long run. One thread.
class token_bucket
{
public:
    /// Starts full.
    void set(const punt_limit &limit, ktime_t now) noexcept;
    /// Another limit; what has been saved up stays, as far as it fits.
    void change(const punt_limit &limit, ktime_t now) noexcept;
    /// How many of n packets may pass now; they are charged.
    unsigned take(unsigned n, ktime_t now) noexcept;

private:
    static constexpr std::uint64_t token = NSEC_PER_SEC; ///< a nanosecond brings `rate_` parts of a token
    std::uint64_t rate_ = 0;
    std::uint64_t depth_ = 0;
    std::uint64_t level_ = 0;
    ktime_t last_ = 0;
};

/// Shares of a limit by where packets come from: sources that fall into one bucket have a quarter of the limit
/// together, and all that are not known have half of it, so that however many are made up, the other half is there for
/// those that are known. One thread.
class fair_buckets
{
public:
    void set(const punt_limit &limit, ktime_t now) noexcept;
    /// True if one more packet of that source may pass; it is charged.
    bool take(source_id source, bool known, ktime_t now) noexcept
    {
        return buckets_[known][(source >> 32) % 256].take(1, now) == 1 && (known || strangers_.take(1, now) == 1);
    }

private:
    std::array<std::array<token_bucket, 256>, 2>
        buckets_; ///< of strangers, of known ones: apart, for strangers fill all
    token_bucket strangers_;
};

/// One CPU's way to the slow path: policing, then a single-producer, single-consumer ring.
class alignas(64) punt_ring
{
public:
    /// `known` outlives it. Throws `error`.
    punt_ring(const known_sources &known, const punt_limits &limits, unsigned size, ktime_t now);
    /// Frees the packets that are still inside.
    ~punt_ring();
    punt_ring(const punt_ring &) = delete;
    punt_ring &operator=(const punt_ring &) = delete;

    /// Producer, the home CPU: polices and publishes; the rest is dropped under its reason.
    /// Returns how many were published.
    unsigned punt(net_cpu &cpu, shadow &to, punt_class c, rte_mbuf **pkts, unsigned n, ktime_t now) noexcept;
    /// Producer: charges one packet, which punt() then lets pass. False: not now.
    bool grant(punt_class c, ktime_t now) noexcept;
    /// Producer.
    void set_limit(punt_class c, const punt_limit &limit, ktime_t now) noexcept;
    /// Producer: something was published since the last call.
    bool take_dirty() noexcept;

    /// Consumer: takes up to NET_BURST packets, and where each of them goes.
    unsigned dequeue(rte_mbuf **pkts, shadow **to) noexcept;
    bool empty() const noexcept;

    std::uint64_t punted(punt_class c) const noexcept { return punted_[c].load(std::memory_order_relaxed); }
    std::uint64_t policed(punt_class c) const noexcept { return policed_[c].load(std::memory_order_relaxed); }

private:
    unsigned police(punt_class c, rte_mbuf **pkts, unsigned n, ktime_t now) noexcept;
    unsigned police_sources(fair_buckets &shares, rte_mbuf **pkts, unsigned n, ktime_t now) noexcept;
    unsigned room(punt_class c) const noexcept;

    struct free_memory {
        void operator()(void *p) const noexcept;
    };
    std::unique_ptr<rte_ring, free_memory> ring_;
    bool dirty_ = false;
    unsigned reserved_; ///< of the ring, for those without which the router loses its neighbours
    const known_sources &known_;
    std::array<token_bucket, PUNT_CLASSES> buckets_;
    fair_buckets arp_nd_sources_, routing_sources_;
    std::array<std::atomic<std::uint64_t>, PUNT_CLASSES> punted_{};  ///< home CPU writes, anyone reads, relaxed
    std::array<std::atomic<std::uint64_t>, PUNT_CLASSES> policed_{}; ///< the same
};

} // namespace halfpoll
