// SPDX-License-Identifier: BSD-3-Clause
#define RTE_USE_C11_MEM_MODEL // acquire and release that a race checker understands; the machine code is the same
#include "punt_ring.hpp"
#include "netio/base/tagged_ring.hpp"

#include <halfpoll/stat_add.hpp>

#include <rte_ether.h>
#include <rte_mbuf.h>

#include <algorithm>
#include <cstdlib>
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

void token_bucket::change(const punt_limit &limit, ktime_t now) noexcept
{
    take(0, now); // credits what the old rate has brought so far
    const std::uint64_t saved = level_;
    set(limit, now);
    level_ = std::min(saved, depth_);
}

unsigned token_bucket::take(unsigned n, ktime_t now) noexcept
{
    const auto elapsed = static_cast<std::uint64_t>(std::max<ktime_t>(now - last_, 0));
    const std::uint64_t missing = depth_ - level_;
    // Compared before the multiplication, so that a long silence does not overflow.
    level_ = rate_ != 0 && elapsed > missing / rate_ ? depth_ : level_ + elapsed * rate_;
    last_ = std::max(now, last_);
    const auto granted = static_cast<unsigned>(std::min<std::uint64_t>(n, level_ / token));
    level_ -= granted * token;
    return granted;
}

void fair_buckets::set(const punt_limit &limit, ktime_t now) noexcept
{
    const auto part = [&](unsigned of) {
        return punt_limit{.packets_per_second = (limit.packets_per_second + of - 1) / of,
                          .burst = (limit.burst + of - 1) / of};
    };
    for (auto &kind : buckets_) {
        for (token_bucket &bucket : kind) {
            bucket.set(part(4), now);
        }
    }
    strangers_.set(part(2), now);
}

namespace
{

constexpr unsigned RING_SIZE_MAX = 1U << 20;

bool is_reserved(punt_class c) noexcept { return c == PUNT_ARP_ND || c == PUNT_ROUTING; }

/// The id of a packet's source: the source address of an IP packet, else the source link address of the frame; 0 if the
/// frame is too short.
source_id source_of(const known_sources &known, const rte_mbuf &m) noexcept
{
    const auto *frame = rte_pktmbuf_mtod(&m, const std::uint8_t *);
    unsigned at = RTE_ETHER_HDR_LEN - 2;
    while (at + 6U <= m.data_len &&
           ((frame[at] == 0x81 && frame[at + 1] == 0) || (frame[at] == 0x88 && frame[at + 1] == 0xA8))) {
        at += RTE_VLAN_HLEN;
    }
    if (at + 42U <= m.data_len && frame[at] == 0x86 && frame[at + 1] == 0xDD) {
        return known.id_of(frame + at + 2 + 8, 16);
    }
    if (at + 22U <= m.data_len && frame[at] == 0x08 && frame[at + 1] == 0) {
        return known.id_of(frame + at + 2 + 12, 4);
    }
    return m.data_len < RTE_ETHER_HDR_LEN ? 0 : known.id_of(frame + RTE_ETHER_ADDR_LEN, RTE_ETHER_ADDR_LEN);
}

} // namespace

void punt_ring::free_memory::operator()(void *p) const noexcept { std::free(p); }

punt_ring::punt_ring(const known_sources &known, const punt_limits &limits, unsigned size, ktime_t now)
    : reserved_(size / 4), known_(known)
{
    arp_nd_sources_.set(limits[PUNT_ARP_ND], now);
    routing_sources_.set(limits[PUNT_ROUTING], now);
    for (unsigned c = 0; c < PUNT_CLASSES; ++c) {
        buckets_[c].set(limits[c], now);
    }
    if (size == 0 || size > RING_SIZE_MAX) {
        throw error("slow path: ring_size " + std::to_string(size) + " is not possible; 1 to " +
                    std::to_string(RING_SIZE_MAX) + " is");
    }
    const std::size_t bytes = tagged_ring_bytes(rte_align32pow2(size + 1));
    ring_.reset(static_cast<rte_ring *>(std::aligned_alloc(RTE_CACHE_LINE_SIZE, bytes)));
    if (!ring_ || rte_ring_init(ring_.get(), "punt", size, RING_F_SP_ENQ | RING_F_SC_DEQ | RING_F_EXACT_SZ) != 0) {
        throw error("slow path: no memory for a ring of " + std::to_string(size) + " packets");
    }
}

void punt_ring::set_limit(punt_class c, const punt_limit &limit, ktime_t now) noexcept
{
    buckets_[c].change(limit, now);
    if (c == PUNT_ARP_ND) {
        arp_nd_sources_.set(limit, now);
    } else if (c == PUNT_ROUTING) {
        routing_sources_.set(limit, now);
    }
}

punt_ring::~punt_ring()
{
    rte_mbuf *pkts[NET_BURST];
    shadow *to[NET_BURST];
    while (const unsigned n = dequeue(pkts, to)) {
        rte_pktmbuf_free_bulk(pkts, n);
    }
}

/// Moves the packets that the share of their source lets pass to the front, and the others to the end; returns how many
/// pass.
unsigned punt_ring::police_sources(fair_buckets &shares, rte_mbuf **pkts, unsigned n, ktime_t now) noexcept
{
    unsigned passed = 0;
    for (unsigned i = 0; i < n; ++i) {
        const source_id source = source_of(known_, *pkts[i]);
        if (shares.take(source, known_.contains(source), now)) {
            std::rotate(pkts + passed, pkts + i, pkts + i + 1);
            ++passed;
        }
    }
    return passed;
}

unsigned punt_ring::police(punt_class c, rte_mbuf **pkts, unsigned n, ktime_t now) noexcept
{
    switch (c) {
    case PUNT_ARP_ND:
        n = police_sources(arp_nd_sources_, pkts, n, now);
        break;
    case PUNT_ROUTING:
        n = police_sources(routing_sources_, pkts, n, now);
        break;
    case PUNT_REDIRECT:
        return n; // grant() has charged them
    default:
        break;
    }
    return buckets_[c].take(n, now);
}

/// Free slots that packets of a class may fill. PUNT_KERNEL, which has no limit of its own, leaves half of the ring to
/// the others.
unsigned punt_ring::room(punt_class c) const noexcept
{
    const unsigned free_slots = rte_ring_free_count(ring_.get());
    const unsigned left_to_others = is_reserved(c) ? 0 : c == PUNT_KERNEL ? 2 * reserved_ : reserved_;
    return free_slots - std::min(free_slots, left_to_others);
}

bool punt_ring::grant(punt_class c, ktime_t now) noexcept { return room(c) != 0 && buckets_[c].take(1, now) == 1; }

punt_result punt_ring::punt(net_cpu &cpu, shadow &to, punt_class c, rte_mbuf **pkts, unsigned n, ktime_t now) noexcept
{
    const unsigned granted = police(c, pkts, n, now);
    if (granted < n) {
        stat_add(policed_[c], n - granted);
        drop_packets(cpu, DROP_PUNT_POLICED, pkts + granted, n - granted);
    }
    const unsigned fit = std::min(granted, room(c));
    const unsigned queued = tagged_enqueue(ring_.get(), reinterpret_cast<std::uintptr_t>(&to), pkts, fit);
    if (queued > 0) {
        stat_add(punted_[c], queued);
        dirty_ = true;
    }
    if (queued < granted) {
        drop_packets(cpu, DROP_PUNT_FULL, pkts + queued, granted - queued);
    }
    return {.queued = queued, .policed = n - granted, .full = granted - queued};
}

bool punt_ring::take_dirty() noexcept { return std::exchange(dirty_, false); }

unsigned punt_ring::dequeue(rte_mbuf **pkts, shadow **to) noexcept
{
    tagged_packet slots[NET_BURST];
    const unsigned n = tagged_dequeue(ring_.get(), slots, NET_BURST);
    for (unsigned i = 0; i < n; ++i) {
        pkts[i] = slots[i].pkt;
        to[i] = reinterpret_cast<shadow *>(slots[i].tag);
    }
    return n;
}

bool punt_ring::empty() const noexcept { return rte_ring_empty(ring_.get()) != 0; }

} // namespace halfpoll
