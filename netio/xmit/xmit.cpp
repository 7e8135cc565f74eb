// SPDX-License-Identifier: BSD-3-Clause
//
//   dev_queue_xmit -> staged (up to NET_BURST) -> tx_burst ... end of poll: net_poll_end -> rest, one doorbell a device
//                                                              ring full: kept, `retry` tries again, then dropped
#include "xmit.hpp"
#include "handover.hpp"
#include "netio/base/burst_length.hpp"

#include <halfpoll/softnet_data.hpp>

#include <rte_branch_prediction.h>
#include <rte_mbuf.h>

#include <algorithm>
#include <cassert>
#include <span>

namespace halfpoll
{
namespace
{

constexpr unsigned XMIT_RECURSION_LIMIT = 8;
constexpr ktime_t XMIT_RETRY_INTERVAL = 20 * NSEC_PER_USEC;
constexpr unsigned XMIT_RETRIES = 50; // a ring that did not move for a millisecond has lost its consumer

void drop_xmit(net_cpu &cpu, const net_device &dev, drop_reason reason, rte_mbuf **pkts, unsigned n) noexcept
{
    stat_add(cpu.dev[dev.ifindex].tx_dropped, n);
    drop_packets(cpu, reason, pkts, n);
}

/// Drops packets that are longer than the device takes; returns how many are left, in front.
unsigned drop_oversize(net_cpu &cpu, const net_device &dev, rte_mbuf **pkts, unsigned n) noexcept
{
    const std::uint32_t limit = xmit_max_frame(dev);
    unsigned kept = 0;
    for (unsigned i = 0; i < n; ++i) {
        if (pkts[i]->pkt_len > limit) {
            drop_xmit(cpu, dev, DROP_TX_OVERSIZE, &pkts[i], 1);
        } else {
            pkts[kept++] = pkts[i];
        }
    }
    return kept;
}

/// Exists while the driver of a queue is called. What the driver sends is nested one deeper than the packets that it
/// was given, which may themselves have been staged from inside a driver.
class driver_call
{
public:
    driver_call(net_cpu &cpu, xmit_queue &q) noexcept : cpu_(cpu), q_(q), outer_(cpu.xmit.recursion)
    {
        q.xmitting = true;
        cpu.xmit.recursion = q.depth + 1;
    }
    ~driver_call()
    {
        cpu_.xmit.recursion = outer_;
        q_.xmitting = false;
    }
    driver_call(const driver_call &) = delete;
    driver_call &operator=(const driver_call &) = delete;

private:
    net_cpu &cpu_;
    xmit_queue &q_;
    const unsigned outer_;
};

unsigned tx_burst(net_cpu &cpu, xmit_queue &q, rte_mbuf **pkts, unsigned n) noexcept
{
    const driver_call call(cpu, q);
    return q.driver->tx_burst(q.queue, pkts, static_cast<std::uint16_t>(n));
}

bool tx_doorbell(net_cpu &cpu, xmit_queue &q) noexcept
{
    const driver_call call(cpu, q);
    return q.driver->tx_doorbell(q.queue);
}

/// Offers packets with `bytes` in all to the driver; returns how many it took.
unsigned offer(net_cpu &cpu, xmit_queue &q, rte_mbuf **pkts, unsigned n, std::uint64_t bytes) noexcept
{
    const unsigned sent = tx_burst(cpu, q, pkts, n);
    q.full = sent < n;
    if (unlikely(sent < n)) {
        bytes -= bytes_of(pkts + sent, n - sent);
    }
    if (likely(sent != 0)) {
        q.doorbell_owed = true;
        dev_stats &stats = cpu.dev[q.dev->ifindex];
        stat_add(stats.tx_packets, sent);
        stat_add(stats.tx_bytes, bytes);
    }
    return sent;
}

/// Offers the staged packets and moves the rest to the front; returns how many were sent.
unsigned offer_staged(net_cpu &cpu, xmit_queue &q) noexcept
{
    const unsigned sent = offer(cpu, q, q.pkts.data(), q.staged, bytes_of(q.pkts.data(), q.staged));
    std::copy(q.pkts.begin() + sent, q.pkts.begin() + q.staged, q.pkts.begin());
    q.staged -= sent;
    return sent;
}

void mark_dirty(net_cpu &cpu, xmit_queue &q) noexcept
{
    if (!q.dirty) {
        q.dirty = true;
        cpu.xmit.flush_list[cpu.xmit.flush_count++] = &q;
    }
}

/// Stages packets, and sends whenever a burst is complete; drops packets for which there is no room.
void stage(net_cpu &cpu, xmit_queue &q, rte_mbuf **pkts, unsigned n) noexcept
{
    while (n != 0) {
        const unsigned burst = q.full || q.staged >= NET_BURST ? static_cast<unsigned>(q.pkts.size()) : NET_BURST;
        const unsigned k = std::min(n, burst - q.staged);
        if (k == 0) {
            drop_xmit(cpu, *q.dev, DROP_TX_FULL, pkts, n);
            return;
        }
        std::copy_n(pkts, k, q.pkts.begin() + q.staged);
        q.staged += k;
        pkts += k;
        n -= k;
        if (q.staged >= NET_BURST && !q.full) {
            offer_staged(cpu, q);
        }
    }
}

/// Offers the staged packets and rings the doorbell. True: nothing is left to do for the queue.
bool flush_queue(net_cpu &cpu, xmit_queue &q) noexcept
{
    if (q.staged != 0 && offer_staged(cpu, q) != 0) {
        q.retries = 0;
    }
    if (q.doorbell_owed) {
        q.doorbell_owed = !tx_doorbell(cpu, q);
    }
    return q.staged == 0 && !q.doorbell_owed;
}

/// Flushes the queues that are on the list now, except the first `kept`, which already wait for room. Returns how many
/// wait afterwards; they are in front, and behind them are the queues that were sent to meanwhile.
unsigned flush_round(net_cpu &cpu, unsigned kept) noexcept
{
    const unsigned end = cpu.xmit.flush_count;
    for (unsigned i = kept; i < end; ++i) {
        xmit_queue &q = *cpu.xmit.flush_list[i];
        q.dirty = false;
        if (unlikely(!flush_queue(cpu, q))) {
            q.dirty = true;
            cpu.xmit.flush_list[kept++] = &q;
        }
    }
    const unsigned meanwhile = cpu.xmit.flush_count - end;
    cpu.xmit.flush_count = kept + meanwhile;
    if (unlikely(meanwhile != 0)) {
        std::copy_n(&cpu.xmit.flush_list[end], meanwhile, &cpu.xmit.flush_list[kept]);
    }
    return kept;
}

/// Starts to keep packets. What the CPU publishes after this, such as a delivery, releases xmit_cpu::kept.
void keep(net_cpu &cpu) noexcept
{
    cpu.xmit.kept.store(cpu.xmit.kept.load(std::memory_order_relaxed) | 1, std::memory_order_relaxed);
    cpu.sd->timers.start(cpu.xmit.retry, cpu.core->rt().now() + XMIT_RETRY_INTERVAL);
}

/// Publishes the next state of xmit_cpu::kept if nothing is kept any more, or if all packets have left that were kept
/// in the present state.
void publish_kept(net_cpu &cpu) noexcept
{
    const std::span kept(cpu.xmit.flush_list.data(), cpu.xmit.flush_count);
    const auto sent = [&](const xmit_queue *q) {
        return cpu.dev[q->dev->ifindex].tx_packets.load(std::memory_order_relaxed);
    };
    if (std::ranges::any_of(kept, [&](const xmit_queue *q) { return q->staged != 0 && sent(q) < q->kept_until; })) {
        return;
    }
    for (xmit_queue *q : kept) {
        q->kept_until = sent(q) + q->staged;
    }
    const std::uint32_t next = cpu.xmit.kept.load(std::memory_order_relaxed) + (kept.empty() ? 3 : 2);
    cpu.xmit.kept.store(next, std::memory_order_release); // pairs with xmit_kept_at()
}

void schedule_handover(net_cpu &cpu) noexcept
{
    for (unsigned target = 0; cpu.handover.targets != 0; ++target) {
        if (cpu.handover.dirty[target]) {
            cpu.handover.dirty[target] = false;
            --cpu.handover.targets;
            napi_schedule(cpu.core->cpu(target).handover.napi);
        }
    }
}

} // namespace

std::uint32_t xmit_max_frame(const net_device &dev) noexcept
{
    return dev.mtu.load(std::memory_order_relaxed) + RTE_ETHER_HDR_LEN + 2 * RTE_VLAN_HLEN;
}

namespace
{

/// Sends a burst with `bytes` in all, to a device that runs and takes packets of their length.
void xmit_burst(net_cpu &cpu, net_device &dev, rte_mbuf **pkts, unsigned n, std::uint64_t bytes) noexcept
{
    xmit_queue *q = cpu.xmit.queues[dev.ifindex].get();
    if (unlikely(cpu.xmit.recursion > XMIT_RECURSION_LIMIT || (q && q->xmitting))) {
        return drop_xmit(cpu, dev, DROP_RECURSION_LIMIT, pkts, n);
    }
    if (!q) {
        return handover_xmit(cpu, dev, pkts, n);
    }
    mark_dirty(cpu, *q);
    const bool nothing_waits = q->staged == 0 && !q->doorbell_owed;
    q->depth = nothing_waits ? cpu.xmit.recursion : std::max(q->depth, cpu.xmit.recursion);
    if (n == NET_BURST && q->staged == 0 && !q->full) { // a whole burst needs no staging
        const unsigned sent = offer(cpu, *q, pkts, n, bytes);
        pkts += sent;
        n -= sent;
    }
    stage(cpu, *q, pkts, n);
}

} // namespace

void dev_queue_xmit(net_cpu &cpu, net_device &dev, rte_mbuf **pkts, unsigned n) noexcept
{
    burst_length length = length_of(pkts, n, xmit_max_frame(dev));
    if (unlikely(length.oversize)) {
        n = drop_oversize(cpu, dev, pkts, n);
        length.bytes = bytes_of(pkts, n);
    }
    dev_queue_xmit(cpu, dev, pkts, n, length.bytes);
}

void dev_queue_xmit(net_cpu &cpu, net_device &dev, rte_mbuf **pkts, unsigned n, std::uint64_t bytes) noexcept
{
    assert(this_softnet_data() == cpu.sd);
    if (unlikely(!dev.running.load(std::memory_order_relaxed))) {
        return drop_xmit(cpu, dev, DROP_DEV_READY, pkts, n);
    }
    xmit_burst(cpu, dev, pkts, n, bytes);
}

namespace
{

/// A step may make work for a later one.
void run_poll_end(net_cpu &cpu) noexcept
{
    for (unsigned step = 0; step < POLL_END_STEPS; ++step) {
        if (cpu.poll_end_due & 1U << step) {
            cpu.poll_end_due &= static_cast<std::uint8_t>(~(1U << step));
            cpu.poll_end[step](cpu);
        }
    }
}

} // namespace

void net_poll_end(net_cpu &cpu) noexcept
{
    if (unlikely(cpu.xmit.recursion != 0)) {
        return; // inside a driver: the poll that called it flushes
    }
    unsigned kept = 0;
    do {
        if (unlikely(cpu.poll_end_due != 0)) {
            run_poll_end(cpu);
        }
        kept = flush_round(cpu, kept);
        // Virtual devices may have sent, redirected or steered packets meanwhile. The nesting is one deeper with each
        // round.
    } while (unlikely(cpu.xmit.flush_count != kept || cpu.poll_end_due != 0));
    if (unlikely(kept != 0 && !cpu.xmit.retry.active())) {
        keep(cpu);
    }
    if (unlikely(cpu.handover.targets != 0)) {
        schedule_handover(cpu);
    }
}

void xmit_retry_timer(hrtimer &timer) noexcept
{
    net_cpu &cpu = *static_cast<xmit_timer &>(timer).cpu;
    for (unsigned i = 0; i < cpu.xmit.flush_count; ++i) {
        xmit_queue &q = *cpu.xmit.flush_list[i];
        if (q.staged != 0 && ++q.retries > XMIT_RETRIES) {
            drop_xmit(cpu, *q.dev, DROP_TX_FULL, q.pkts.data(), q.staged);
            q.staged = 0;
            q.retries = 0;
            q.full = false;
        }
    }
    net_poll_end(cpu);
    publish_kept(cpu);
}

void xmit_remove(net_cpu &cpu, net_device &dev, bool send) noexcept
{
    std::unique_ptr<xmit_queue> q = std::move(cpu.xmit.queues[dev.ifindex]);
    if (!q) {
        return;
    }
    if (send) {
        flush_queue(cpu, *q);
    }
    if (q->staged != 0) {
        drop_xmit(cpu, dev, DROP_DEV_READY, q->pkts.data(), q->staged);
    }
    xmit_queue **end = cpu.xmit.flush_list.data() + cpu.xmit.flush_count;
    cpu.xmit.flush_count =
        static_cast<unsigned>(std::remove(cpu.xmit.flush_list.data(), end, q.get()) - cpu.xmit.flush_list.data());
}

} // namespace halfpoll
