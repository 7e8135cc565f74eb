// SPDX-License-Identifier: BSD-3-Clause
//
// Packets that another CPU received go back to it when they are freed, so that its driver finds them in its own cache
// of the pool, and not in the cache of a CPU that has no use for them:
//
//   receiving CPU --(backlog)--> handler -> consume_packets() -> staged, published with the round
//        skb_defer_flush() <--------------- one ring per pair of CPUs <-------'
#include "skb_defer.hpp"
#include "defer_ring.hpp"
#include "freed_segments.hpp"

#include <halfpoll/stat_add.hpp>

#include <rte_mbuf.h>
#include <rte_mempool.h>

#include <string>
#include <utility>

namespace halfpoll
{

static_assert(SKB_DEFER_ROOM < defer_ring::SLOTS);

namespace
{

constexpr unsigned BULK = 64;

/// Frees the packets that CPU `home` received: onto the ring to it as long as fewer than skb_defer_max wait there, else
/// on the spot.
void defer(net_cpu &cpu, unsigned home, rte_mbuf **pkts, unsigned n) noexcept
{
    defer_ring &ring = *cpu.defer.out[home];
    const std::uint32_t max = cpu.core->skb_defer_max();
    rte_mempool *const pool = cpu.core->pool();
    std::uint64_t deferred = 0, over = 0;
    for_freed_segments(pkts, n, [&](rte_mbuf *m) noexcept {
        if (m->pool == pool && ring.length(max) < max) {
            ring.put(m);
            ++deferred;
        } else {
            cpu.cache->free(&m, 1);
            ++over;
        }
    });
    stat_add(cpu.defer.deferred, deferred);
    stat_add(cpu.defer.over, over);
}

} // namespace

void consume_packets(net_cpu &cpu, rte_mbuf **pkts, unsigned n) noexcept
{
    if (likely(cpu.defer.receiver == cpu.id)) {
        cpu.cache->free(pkts, n);
    } else {
        defer(cpu, cpu.defer.receiver, pkts, n);
    }
}

void drop_packets(net_cpu &cpu, unsigned reason, rte_mbuf **pkts, unsigned n) noexcept
{
    stat_add(cpu.drops[reason], n);
    consume_packets(cpu, pkts, n);
}

void defer_publish(net_cpu &cpu) noexcept
{
    const unsigned receiver = std::exchange(cpu.defer.receiver, cpu.id);
    if (!cpu.defer.out[receiver]->staged()) {
        return;
    }
    net_cpu &home = cpu.core->cpu(receiver);
    const bool half_full = cpu.defer.out[receiver]->publish(cpu.core->skb_defer_max() / 2);
    home.defer_waits.store(true, std::memory_order_release); // pairs with the exchange in defer_take()
    if (half_full) {
        napi_schedule(home.backlog.napi); // `home` may poll nothing for a long time
    }
}

void defer_take(net_cpu &cpu) noexcept
{
    // acquire; pairs with the release in defer_publish(). Segments published before that store are seen below; for
    // later ones the flag is set again.
    cpu.defer_waits.exchange(false, std::memory_order_acquire);
    rte_mbuf *pkts[BULK];
    for (const auto &ring : cpu.defer.in) {
        while (const std::uint32_t n = ring->take(pkts, BULK)) {
            rte_mempool_put_bulk(cpu.core->pool(), reinterpret_cast<void **>(pkts), n);
        }
    }
}

void skb_defer_flush(net_cpu &cpu) noexcept { defer_take_waiting(cpu); }

void defer_ring_deleter::operator()(defer_ring *ring) const noexcept
{
    rte_mbuf *m;
    while (ring->take(&m, 1) != 0) {
        rte_mempool_put(m->pool, m);
    }
    delete ring;
}

void net_core::set_skb_defer_max(unsigned packets)
{
    if (packets > SKB_DEFER_ROOM) {
        throw error("skb_defer_max must be 0 to " + std::to_string(SKB_DEFER_ROOM) + ", not " +
                    std::to_string(packets));
    }
    skb_defer_max_.store(packets, std::memory_order_relaxed);
    if (packets == 0) {
        for (const auto &cpu : cpus_) {
            rt_.call_on(cpu->id, [](softnet_data &) {}); // publishes what the previous poll deferred
        }
        for (const auto &cpu : cpus_) {
            rt_.call_on(cpu->id, [&](softnet_data &) { defer_take(*cpu); });
        }
    }
}

} // namespace halfpoll
