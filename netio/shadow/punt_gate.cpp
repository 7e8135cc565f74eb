// SPDX-License-Identifier: BSD-3-Clause
#include "punt_gate.hpp"

#include <halfpoll/flow_hash.hpp>
#include <halfpoll/stat_add.hpp>

#include <rte_ether.h>
#include <rte_mbuf.h>

#include <algorithm>
#include <bit>

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

/// Offset of the EtherType that says what is behind the VLAN tags.
unsigned ether_type_of(const rte_mbuf &m) noexcept
{
    const auto *frame = rte_pktmbuf_mtod(&m, const std::uint8_t *);
    unsigned at = RTE_ETHER_HDR_LEN - 2;
    while (at + 6U <= m.data_len &&
           ((frame[at] == 0x81 && frame[at + 1] == 0) || (frame[at] == 0x88 && frame[at + 1] == 0xA8))) {
        at += RTE_VLAN_HLEN;
    }
    return at;
}

/// The id of a packet's source: the source address of an IP packet, else the source link address of the frame; 0 if the
/// frame is too short.
source_id source_of(const known_sources &known, const rte_mbuf &m) noexcept
{
    const auto *frame = rte_pktmbuf_mtod(&m, const std::uint8_t *);
    const unsigned at = ether_type_of(m);
    if (at + 42U <= m.data_len && frame[at] == 0x86 && frame[at + 1] == 0xDD) {
        return known.id_of(frame + at + 2 + 8, 16);
    }
    if (at + 22U <= m.data_len && frame[at] == 0x08 && frame[at + 1] == 0) {
        return known.id_of(frame + at + 2 + 12, 4);
    }
    return m.data_len < RTE_ETHER_HDR_LEN ? 0 : known.id_of(frame + RTE_ETHER_ADDR_LEN, RTE_ETHER_ADDR_LEN);
}

bool is_ip4_fragment(const rte_mbuf &m) noexcept
{
    const auto *frame = rte_pktmbuf_mtod(&m, const std::uint8_t *);
    const unsigned at = ether_type_of(m);
    return at + 22U <= m.data_len && frame[at] == 0x08 && frame[at + 1] == 0 &&
           ((frame[at + 8] & 0x3F) != 0 || frame[at + 9] != 0); // more fragments follow, or an offset
}

/// Finds the thread of each of n packets (at most FLOW_HASH_BURST) by its flow, so that a flow keeps its order; returns
/// a bit for each thread that has some. Thread 0 has what belongs to no flow, as ARP, and the routing protocols. Only
/// the first fragment of a packet shows that it is of one (PUNT_ROUTING), so a fragment goes by its addresses as those
/// that follow it.
std::uint32_t threads_of(punt_class c, unsigned threads, rte_mbuf *const *pkts, unsigned n, std::uint8_t *to) noexcept
{
    if (c == PUNT_ARP_ND) {
        std::fill_n(to, n, std::uint8_t{0});
        return 1;
    }
    std::uint32_t hash[FLOW_HASH_BURST], used = 0;
    flow_hash_burst(pkts, n, hash);
    for (unsigned i = 0; i < n; ++i) {
        const bool to_first = c == PUNT_ROUTING && !is_ip4_fragment(*pkts[i]);
        to[i] = static_cast<std::uint8_t>(to_first ? 0 : std::uint64_t{hash[i]} * threads >> 32);
        used |= 1U << to[i];
    }
    return used;
}

} // namespace

punt_gate::punt_gate(const known_sources &known, const punt_limits &limits, unsigned threads, unsigned ring_size,
                     ktime_t now)
    : threads_(threads), known_(known)
{
    arp_nd_sources_.set(limits[PUNT_ARP_ND], now);
    routing_sources_.set(limits[PUNT_ROUTING], now);
    for (unsigned c = 0; c < PUNT_CLASSES; ++c) {
        buckets_[c].set(limits[c], now);
    }
    for (unsigned thread = 0; thread < threads; ++thread) {
        rings_[thread].make(ring_size);
    }
}

void punt_gate::set_limit(punt_class c, const punt_limit &limit, ktime_t now) noexcept
{
    buckets_[c].change(limit, now);
    if (c == PUNT_ARP_ND) {
        arp_nd_sources_.set(limit, now);
    } else if (c == PUNT_ROUTING) {
        routing_sources_.set(limit, now);
    }
}

/// Moves the packets that the share of their source lets pass to the front, and the others to the end; returns how many
/// pass.
unsigned punt_gate::police_sources(fair_buckets &shares, rte_mbuf **pkts, unsigned n, ktime_t now) noexcept
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

unsigned punt_gate::police(punt_class c, rte_mbuf **pkts, unsigned n, ktime_t now) noexcept
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

/// A packet that is granted finds room in whichever ring it goes to.
bool punt_gate::grant(punt_class c, ktime_t now) noexcept
{
    for (unsigned thread = 0; thread < threads_; ++thread) {
        if (rings_[thread].room(c) == 0) {
            return false;
        }
    }
    return buckets_[c].take(1, now) == 1;
}

unsigned punt_gate::put(unsigned thread, shadow &to, punt_class c, rte_mbuf *const *pkts, unsigned n) noexcept
{
    const unsigned queued = rings_[thread].put(to, c, pkts, n);
    dirty_ |= queued > 0 ? 1U << thread : 0;
    return queued;
}

/// Publishes each packet for the thread of its flow. Returns how many had no room; these are at the front then.
unsigned punt_gate::put_by_flow(shadow &to, punt_class c, rte_mbuf **pkts, unsigned n) noexcept
{
    unsigned refused = 0;
    for (unsigned done = 0, count; done < n; done += count) {
        count = std::min(n - done, FLOW_HASH_BURST);
        rte_mbuf *burst[FLOW_HASH_BURST], *flows[FLOW_HASH_BURST];
        std::uint8_t thread_of[FLOW_HASH_BURST];
        std::copy_n(pkts + done, count, burst);
        for (std::uint32_t used = threads_of(c, threads_, burst, count, thread_of); used != 0; used &= used - 1) {
            const auto thread = static_cast<unsigned>(std::countr_zero(used));
            unsigned of_thread = 0;
            for (unsigned i = 0; i < count; ++i) {
                flows[of_thread] = burst[i];
                of_thread += thread_of[i] == thread;
            }
            const unsigned queued = put(thread, to, c, flows, of_thread);
            std::copy_n(flows + queued, of_thread - queued, pkts + refused);
            refused += of_thread - queued;
        }
    }
    return refused;
}

punt_result punt_gate::punt(net_cpu &cpu, shadow &to, punt_class c, rte_mbuf **pkts, unsigned n, ktime_t now) noexcept
{
    const unsigned granted = police(c, pkts, n, now);
    if (granted < n) {
        stat_add(policed_[c], n - granted);
        drop_packets(cpu, DROP_PUNT_POLICED, pkts + granted, n - granted);
    }
    unsigned queued;
    if (threads_ == 1) [[likely]] {
        queued = put(0, to, c, pkts, granted);
        pkts += queued;
    } else {
        queued = granted - put_by_flow(to, c, pkts, granted);
    }
    if (queued > 0) {
        stat_add(punted_[c], queued);
    }
    if (queued < granted) {
        drop_packets(cpu, DROP_PUNT_FULL, pkts, granted - queued);
    }
    return {.queued = queued, .policed = n - granted, .full = granted - queued};
}

bool punt_gate::empty() const noexcept
{
    return std::all_of(rings_.begin(), rings_.begin() + threads_, [](const punt_ring &ring) { return ring.empty(); });
}

} // namespace halfpoll
