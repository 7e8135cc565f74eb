// SPDX-License-Identifier: BSD-3-Clause
#define RTE_USE_C11_MEM_MODEL // acquire and release that a race checker understands; the same instructions
#include "punt_ring.hpp"

#include <rte_mbuf.h>
#include <rte_ring.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace halfpoll
{

void token_bucket::set(const punt_limit &limit, ktime_t now) noexcept
{
    rate_ = limit.packets_per_second;
    depth_ = limit.burst * token;
    level_ = depth_;
    last_ = now;
}

unsigned token_bucket::take(unsigned n, ktime_t now) noexcept
{
    const auto elapsed = static_cast<std::uint64_t>(std::max<ktime_t>(now - last_, 0));
    const std::uint64_t missing = depth_ - level_;
    // Compared before it is multiplied, so that a long silence does not overflow.
    level_ = rate_ != 0 && elapsed > missing / rate_ ? depth_ : level_ + elapsed * rate_;
    last_ = std::max(now, last_);
    const auto granted = static_cast<unsigned>(std::min<std::uint64_t>(n, level_ / token));
    level_ -= granted * token;
    return granted;
}

void punt_ring::free_memory::operator()(void *p) const noexcept { std::free(p); }

punt_ring::punt_ring(const punt_limit (&limits)[PUNT_CLASSES], unsigned size, ktime_t now)
{
    for (unsigned c = 0; c < PUNT_CLASSES; ++c) {
        buckets_[c].set(limits[c], now);
    }
    const unsigned slots = rte_align32pow2(size + 1);
    const ssize_t bytes = rte_ring_get_memsize(slots);
    if (size == 0 || bytes < 0) {
        throw error("slow path: ring_size " + std::to_string(size) + " is not possible; 1 to 1048576 is");
    }
    const std::size_t aligned = (static_cast<std::size_t>(bytes) + 63) / 64 * 64;
    ring_.reset(static_cast<rte_ring *>(std::aligned_alloc(64, aligned)));
    if (!ring_ || rte_ring_init(ring_.get(), "punt", size, RING_F_SP_ENQ | RING_F_SC_DEQ | RING_F_EXACT_SZ) != 0) {
        throw error("slow path: no memory for a ring of " + std::to_string(size) + " packets");
    }
}

punt_ring::~punt_ring()
{
    rte_mbuf *pkts[NET_BURST];
    while (const unsigned n = dequeue(pkts, NET_BURST)) {
        rte_pktmbuf_free_bulk(pkts, n);
    }
}

void punt_ring::punt(net_cpu &cpu, shadow &to, punt_class c, rte_mbuf **pkts, unsigned n, ktime_t now) noexcept
{
    const unsigned granted = buckets_[c].take(n, now);
    if (granted < n) {
        stat_add(policed_[c], n - granted);
        drop_packets(cpu, DROP_PUNT_POLICED, pkts + granted, n - granted);
    }
    shadow *const tag = &to;
    for (unsigned i = 0; i < granted; ++i) {
        std::memcpy(pkts[i]->buf_addr, &tag, sizeof tag); // the start of the headroom
    }
    const unsigned queued = rte_ring_sp_enqueue_burst(ring_.get(), reinterpret_cast<void **>(pkts), granted, nullptr);
    if (queued > 0) {
        stat_add(punted_[c], queued);
        dirty_ = true;
    }
    if (queued < granted) {
        drop_packets(cpu, DROP_PUNT_FULL, pkts + queued, granted - queued);
    }
}

bool punt_ring::take_dirty() noexcept { return std::exchange(dirty_, false); }

unsigned punt_ring::dequeue(rte_mbuf **pkts, unsigned n) noexcept
{
    return rte_ring_sc_dequeue_burst(ring_.get(), reinterpret_cast<void **>(pkts), n, nullptr);
}

bool punt_ring::empty() const noexcept { return rte_ring_empty(ring_.get()) != 0; }

shadow *punt_ring::target(const rte_mbuf &m) noexcept
{
    shadow *tag;
    std::memcpy(&tag, m.buf_addr, sizeof tag);
    return tag;
}

} // namespace halfpoll
