// SPDX-License-Identifier: BSD-3-Clause
#include <halfpoll/backlog.hpp>
#include <halfpoll/softnet_data.hpp>

#include "backlog_internal.hpp"
#include "backlog_ring.hpp"
#include "netio/base/net_deliver.hpp"
#include "netio/buffers/skb_defer.hpp"

#include "runtime/base/announce.hpp"
#include "runtime/base/race_point.hpp"

#include <rte_branch_prediction.h>
#include <rte_malloc.h>
#include <rte_mbuf.h>

#include <algorithm>
#include <cassert>
#include <new>
#include <string>

namespace halfpoll
{

backlog_ring *backlog_ring::create(net_cpu &target, unsigned slots)
{
    void *memory = rte_zmalloc(nullptr, sizeof(backlog_ring) + slots * sizeof(std::uintptr_t), alignof(backlog_ring));
    if (!memory) {
        throw error("no memory for a backlog of " + std::to_string(slots) +
                    " packets between two CPUs (more EAL memory, "
                    "or a smaller netdev_max_backlog?)");
    }
    auto *behind = reinterpret_cast<std::uintptr_t *>(static_cast<char *>(memory) + sizeof(backlog_ring));
    return new (memory) backlog_ring(target, behind, slots);
}

void backlog_ring::destroy(backlog_ring *ring) noexcept
{
    ring->publish();
    net_device *in;
    rte_mbuf *m;
    while (ring->take(in, &m, 1) != 0) {
        rte_pktmbuf_free(m);
    }
    ring->~backlog_ring();
    rte_free(ring);
}

void backlog_ring_deleter::operator()(backlog_ring *ring) const noexcept { backlog_ring::destroy(ring); }

namespace
{

/// Returns how many of n packets are below the limit. While every producer keeps to its share, no producer reads the
/// rings of the others. Beyond that producers read them without a lock, so the sum may exceed the limit for a moment.
unsigned admit(net_cpu &cpu, unsigned target, backlog_ring &ring, unsigned n) noexcept
{
    std::atomic<bool> &crowded = ring.target().backlog_crowded;
    const std::uint32_t share = cpu.core->backlog_share();
    const bool own_share = ring.length(false) + n <= share || ring.length(true) + n <= share;
    if (likely(own_share && !crowded.load(std::memory_order_relaxed))) {
        return n;
    }
    if (!own_share) {
        crowded.store(true, std::memory_order_relaxed);
    }
    const std::uint32_t limit = cpu.core->netdev_max_backlog() + 1; // one more packet fits, as in the kernel
    const std::uint32_t waiting = backlog_length(cpu, target);
    return waiting >= limit ? 0 : std::min(n, limit - waiting);
}

void push(backlog_ring *&list, backlog_ring &ring, backlog_list_entry &entry) noexcept
{
    if (!entry.listed) {
        entry = {.next = list, .listed = true};
        list = &ring;
    }
}

/// Delivers on `cpu` up to `limit` packets that CPU `from` has put on a ring; returns how many.
unsigned serve(net_cpu &cpu, backlog_ring &ring, unsigned from, unsigned limit) noexcept
{
    rte_mbuf *pkts[NET_BURST];
    net_device *in;
    unsigned work = 0;
    defer_begin(cpu, from);
    while (work < limit) {
        const unsigned n = ring.take(in, pkts, std::min(NET_BURST, limit - work));
        if (n == 0) {
            break;
        }
        net_deliver(cpu, *in, pkts, n);
        work += n;
    }
    defer_end(cpu);
    return work;
}

/// Ends a round: flushes the packets that the handler sent before it publishes "delivered", so that nothing can
/// overtake them here. Of packets that a full tx ring refuses, xmit_kept_at() tells.
void finish(net_cpu &cpu, net_cpu &by) noexcept
{
    net_poll_end(by);
    for (const auto &ring : cpu.backlog.in) {
        ring->deliver();
    }
}

bool pending(const net_cpu &cpu) noexcept
{
    return std::any_of(cpu.backlog.in.begin(), cpu.backlog.in.end(), [](const auto &ring) { return ring->pending(); });
}

} // namespace

void drop_backlog(net_cpu &cpu, unsigned target, net_device &in, rte_mbuf **pkts, unsigned n) noexcept
{
    cpu.backlog.out[target]->count_drops(n);
    stat_add(cpu.dev[in.ifindex].rx_dropped, n);
    drop_packets(cpu, DROP_CPU_BACKLOG, pkts, n);
}

void enqueue_to_backlog(net_cpu &cpu, unsigned target, net_device &in, rte_mbuf **pkts, unsigned n) noexcept
{
    assert(this_softnet_data() == cpu.sd);
    backlog_ring &ring = *cpu.backlog.out[target];
    unsigned fit = admit(cpu, target, ring, n);
    const std::uint32_t room = ring.room(fit + 1); // the device takes a slot too
    if (unlikely(room <= fit)) {
        fit = room == 0 ? 0 : room - 1;
    }
    if (likely(fit != 0)) {
        ring.put(in, pkts, fit);
        push(cpu.backlog.staged, ring, ring.staged());
        cpu.poll_end_due |= 1U << POLL_END_RPS;
    }
    if (unlikely(fit < n)) {
        drop_backlog(cpu, target, in, pkts + fit, n - fit);
    }
}

void net_rps_flush(net_cpu &cpu) noexcept
{
    while (backlog_ring *ring = cpu.backlog.staged) {
        cpu.backlog.staged = ring->staged().next;
        ring->staged() = {};
        ring->publish();
        net_cpu &target = ring->target();
        if (target.backlog_idle.load(std::memory_order_relaxed) != 0) {
            napi_schedule(target.backlog.napi);
        } else if (&target != &cpu) { // `cpu` sees its own flag, so there is nothing to check
            push(cpu.backlog.unchecked, *ring, ring->unchecked());
            cpu.sd->backlogs_unchecked = true;
        }
    }
}

/// A target that goes idle while packets are published for it may have checked its ring too early, and the producer may
/// not have seen its flag. The fence that decides which of the two sees the other waits for all earlier stores, also to
/// cache lines of other CPUs. So producers pay for it once per turn, and not once per poll.
void kick_idle_backlogs(softnet_data &sd) noexcept
{
    net_cpu &cpu = *static_cast<cpu_napi &>(*sd.backlog).cpu;
    sd.backlogs_unchecked = false;
    while (backlog_ring *ring = cpu.backlog.unchecked) {
        cpu.backlog.unchecked = ring->unchecked().next;
        ring->unchecked() = {};
        HALFPOLL_RACE_POINT(backlog_unchecked, &cpu);
        if (announced(ring->target().backlog_idle)) { // else the target will check the ring before it goes idle
            napi_schedule(ring->target().backlog.napi);
        }
    }
}

int process_backlog(napi_struct &napi, int quota) noexcept
{
    net_cpu &cpu = *static_cast<cpu_napi &>(napi).cpu;
    net_cpu &by = cpu.core->cpu(napi.sd->cpu); // this CPU, or the one that serves it while it is offline
    const unsigned rings = static_cast<unsigned>(cpu.backlog.in.size());
    const unsigned limit = static_cast<unsigned>(quota);
    if (cpu.backlog_idle.load(std::memory_order_relaxed) != 0) {
        cpu.backlog_idle.store(0, std::memory_order_relaxed); // producers need not kick: all rings are served below
    }
    defer_take_waiting(by);
    unsigned work = 0;
    for (unsigned i = 0; i < rings && work < limit; ++i) {
        const unsigned from = (cpu.backlog.next + i) % rings;
        work += serve(by, *cpu.backlog.in[from], from, limit - work);
    }
    cpu.backlog.next = (cpu.backlog.next + 1) % rings;
    if (work != 0) {
        finish(cpu, by);
    }
    if (work < limit && cpu.backlog_crowded.load(std::memory_order_relaxed)) {
        cpu.backlog_crowded.store(false, std::memory_order_relaxed); // every ring was empty
    }
    if (work < limit && napi_complete_done(napi, static_cast<int>(work))) {
        HALFPOLL_RACE_POINT(backlog_unannounced, &cpu);
        announce(cpu.backlog_idle); // pairs with announced() in kick_idle_backlogs()
        HALFPOLL_RACE_POINT(backlog_announced, &cpu);
        if (pending(cpu)) {
            napi_schedule(napi);
        }
    }
    return static_cast<int>(work);
}

void flush_backlog(net_cpu &cpu) noexcept
{
    net_cpu &by = cpu.core->cpu(this_softnet_data()->cpu);
    for (unsigned from = 0; from < cpu.backlog.in.size(); ++from) {
        serve(by, *cpu.backlog.in[from], from, cpu.backlog.in[from]->visible());
    }
    finish(cpu, by);
}

std::uint32_t backlog_tail(const net_cpu &cpu, unsigned target) noexcept { return cpu.backlog.out[target]->tail(); }

std::uint32_t backlog_head(const net_cpu &cpu, unsigned target) noexcept { return cpu.backlog.out[target]->head(); }

std::uint32_t backlog_length(const net_cpu &cpu, unsigned target) noexcept
{
    std::uint32_t sum = 0;
    for (const auto &ring : cpu.core->cpu(target).backlog.in) {
        sum += ring.get() == cpu.backlog.out[target] ? ring->tail() - ring->head() : ring->visible();
    }
    return sum;
}

backlog_stats backlog_stats_of(const net_cpu &cpu) noexcept
{
    backlog_stats stats;
    for (const auto &ring : cpu.backlog.in) {
        const auto [process, input] = ring->lengths();
        stats.dropped += ring->dropped();
        stats.process_queue += process;
        stats.input_pkt_queue += input;
    }
    return stats;
}

} // namespace halfpoll
