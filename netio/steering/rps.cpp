// SPDX-License-Identifier: BSD-3-Clause
//
// Steering of a burst has three steps: hashes, targets (from the map, or by flows: rfs.cpp), hand-over.
//
//   pkts -> flow hash -> staged[CPU 0], staged[CPU 1], ..., staged[here]
//                             |              |                 |
//                          backlog        backlog           handler
#include "netio/base/net_deliver.hpp"
#include "netio/xmit/handover.hpp"
#include "netio/xmit/xmit.hpp"
#include "rps_internal.hpp"

#include <halfpoll/flow_hash.hpp>
#include <halfpoll/softnet_data.hpp>

#include <rte_branch_prediction.h>
#include <rte_mbuf.h>

#include <utility>

namespace halfpoll
{
namespace
{

void stage_by_map(rps_cpu &to, const rps_tables &tables, rte_mbuf **pkts, const std::uint32_t *hash,
                  unsigned n) noexcept
{
    const std::uint16_t *map = tables.map.data();
    const std::uint64_t len = tables.map.size() - 1;
    for (unsigned i = 0; i < n; ++i) {
        const std::uint64_t slot = hash[i] != 0 ? (hash[i] * len) >> 32 : len;
        to.stage(map[slot], pkts[i]);
    }
}

/// Drops the packets that exceed the limit of their flow; returns how many are left, in front.
unsigned limit_flows(net_cpu &cpu, unsigned target, net_device &in, rte_mbuf **pkts, unsigned n) noexcept
{
    if (backlog_length(cpu, target) < cpu.core->netdev_max_backlog() / 2) {
        return n;
    }
    rte_mbuf *over[NET_BURST];
    unsigned kept = 0, dropped = 0;
    for (unsigned i = 0; i < n; ++i) {
        if (cpu.rps->limit->exceeds(pkts[i]->hash.rss)) {
            over[dropped++] = pkts[i];
        } else {
            pkts[kept++] = pkts[i];
        }
    }
    if (dropped != 0) {
        stat_add(cpu.sd->stats.flow_limit_count, dropped);
        drop_backlog(cpu, target, in, over, dropped);
    }
    return kept;
}

void to_backlog(rx_queue &q, unsigned target) noexcept
{
    net_cpu &cpu = *q.cpu;
    rte_mbuf **pkts = cpu.rps->staged[target].data();
    unsigned n = std::exchange(cpu.rps->count[target], std::uint16_t{0});
    if (cpu.rps->limit) {
        n = limit_flows(cpu, target, *q.dev, pkts, n);
    }
    enqueue_to_backlog(cpu, target, *q.dev, pkts, n);
    q.rps->last_tail[target] = backlog_tail(cpu, target);
}

/// Whether the owners of tx queues have sent the delivered packets, except those that they keep. While the queue
/// receives, that is certain only when no packet waits for any owner. Once the queue pauses, it is certain when the
/// packets that were handed over by then are sent.
bool all_handed_sent(rps_queue &rps, const net_core &core, bool paused) noexcept
{
    const bool noted = std::exchange(rps.handed_noted, paused);
    bool sent = true;
    for (unsigned from = 0, i = 0; from < core.cpus(); ++from) {
        for (unsigned owner = 0; owner < core.cpus(); ++owner, ++i) {
            const handover_place at = handover_at(core, from, owner);
            rps.handed[i] = noted ? rps.handed[i] : at.put;
            sent = sent && static_cast<std::int32_t>(at.sent - rps.handed[i]) >= 0;
        }
    }
    return sent;
}

/// Whether no CPU keeps a delivered packet. Once the queue pauses and all_handed_sent() is true, packets that others
/// send do not count.
bool none_kept(rps_queue &rps, const net_core &core, bool paused_and_sent) noexcept
{
    const bool noted = std::exchange(rps.kept_noted, paused_and_sent);
    bool none = true;
    for (unsigned cpu = 0; cpu < core.cpus(); ++cpu) {
        rps.kept[cpu] = noted ? rps.kept[cpu] : xmit_kept_at(core.cpu(cpu));
        none = none && !xmit_keeps_since(core.cpu(cpu), rps.kept[cpu]);
    }
    return none;
}

/// Whether the delivered packets have also left.
bool all_sent(rx_queue &q) noexcept
{
    rps_queue &rps = *q.steering;
    const net_core &core = *q.cpu->core;
    const bool paused = q.cpu->sd->now >= rps.pause_from;
    const bool sent = all_handed_sent(rps, core, paused);
    return none_kept(rps, core, paused && sent) && sent;
}

} // namespace

bool sd_flow_limit::exceeds(std::uint32_t hash) noexcept
{
    const std::uint32_t bucket = hash & static_cast<std::uint32_t>(of_bucket.size() - 1);
    const std::uint32_t oldest = std::exchange(history[at], bucket);
    at = (at + 1) % HISTORY;
    of_bucket[oldest] -= of_bucket[oldest] != 0; // at first the history contains bucket 0, which has no packets
    return ++of_bucket[bucket] > HISTORY / 2;
}

void rps_receive(rx_queue &q, rte_mbuf **pkts, unsigned n) noexcept
{
    net_cpu &cpu = *q.cpu;
    rps_cpu &mine = *cpu.rps;
    rps_queue &rps = *q.rps;
    std::uint32_t hash[NET_BURST];
    rps_dev_flow *used[NET_BURST];
    const bool by_flow = !rps.now.flows.empty();

    flow_hash_burst(pkts, n, hash);
    if (by_flow) {
        rfs_stage(cpu, rps, pkts, hash, n, used);
    } else {
        stage_by_map(mine, rps.now, pkts, hash, n);
    }
    // Packets for this CPU are processed first, so that a flow that has just moved from here to a backlog leaves no
    // packet behind.
    const unsigned direct = std::exchange(mine.count[mine.here], std::uint16_t{0});
    if (direct != 0) {
        net_deliver(cpu, *q.dev, mine.staged[mine.here].data(), direct);
    }
    for (unsigned i = 0; i < mine.targets; ++i) {
        if (mine.touched[i] != mine.here) {
            to_backlog(q, mine.touched[i]);
        }
    }
    mine.targets = 0;
    if (by_flow) {
        rfs_note_tails(rps, used, n);
    }
    stat_add(rps.direct, direct);
    stat_add(rps.steered, n - direct);
}

bool rps_may_receive(rx_queue &q) noexcept
{
    rps_queue &rps = *q.rps;
    if (likely(!rps.changing)) {
        return true;
    }
    if (rps_settle(q)) {
        return true;
    }
    if (q.cpu->sd->now < rps.pause_from) {
        return true;
    }
    stat_add(rps.pauses);
    return false;
}

bool rps_queue_in_flight(const rx_queue &q) noexcept
{
    for (unsigned target = 0; target < q.cpu->rps->here; ++target) {
        if (rps_in_flight(*q.cpu, target, q.steering->last_tail[target])) {
            return true;
        }
    }
    return false;
}

bool rps_settle(rx_queue &q) noexcept
{
    rps_queue &rps = *q.steering;
    if (!rps.changing) {
        return true;
    }
    if (rps_queue_in_flight(q) || !all_sent(q)) {
        return false;
    }
    std::swap(rps.now, rps.next);
    rps.changing = false;
    q.rps = rps.now.steers() ? &rps : nullptr;
    return true;
}

} // namespace halfpoll
