// SPDX-License-Identifier: BSD-3-Clause
//
// Every tx queue has an owner CPU; other CPUs and threads reach it over single-producer rings:
//
//   CPU 0, CPU 1, ..., foreign thread k  --(one ring each)-->  handover NAPI of the owner -> dev_queue_xmit
#define RTE_USE_C11_MEM_MODEL // acquire and release that a race checker understands; the machine code is the same
#include "handover.hpp"
#include "netio/base/tagged_ring.hpp"
#include "xmit.hpp"

#include <halfpoll/softnet_data.hpp>

#include <rte_malloc.h>
#include <rte_mbuf.h>

#include <algorithm>
#include <cerrno>

namespace halfpoll
{
namespace
{

constexpr unsigned HANDOVER_RING = 1024; // the power of two next to the kernel's netdev_max_backlog

/// The tag of a packet: the device, and the number of sends that led to this one, because a loop of virtual devices may
/// span several CPUs.
std::uintptr_t tag_of(ifindex_t ifindex, unsigned depth) noexcept { return ifindex | std::uintptr_t{depth} << 16; }
ifindex_t ifindex_of(std::uintptr_t tag) noexcept { return static_cast<ifindex_t>(tag); }
unsigned depth_of(std::uintptr_t tag) noexcept { return static_cast<unsigned>(tag >> 16); }

/// Sends a burst from a ring, one run of packets with the same tag at a time.
void deliver(net_cpu &cpu, const tagged_packet *slots, unsigned n) noexcept
{
    rte_mbuf *pkts[NET_BURST];
    for (unsigned first = 0, end; first < n; first = end) {
        const std::uintptr_t tag = slots[first].tag;
        for (end = first; end < n && slots[end].tag == tag; ++end) {
            pkts[end - first] = slots[end].pkt;
        }
        if (xmit_queue *q = cpu.xmit.queues[ifindex_of(tag)].get()) {
            cpu.xmit.recursion = depth_of(tag);
            dev_queue_xmit(cpu, *q->dev, pkts, end - first);
            cpu.xmit.recursion = 0;
        } else {
            drop_packets(cpu, DROP_DEV_READY, pkts, end - first);
        }
    }
}

unsigned serve(net_cpu &cpu, rte_ring *ring, unsigned limit) noexcept
{
    tagged_packet slots[NET_BURST];
    unsigned work = 0;
    while (work < limit) {
        const unsigned n = tagged_dequeue(ring, slots, std::min(NET_BURST, limit - work));
        if (n == 0) {
            break;
        }
        deliver(cpu, slots, n);
        work += n;
    }
    return work;
}

/// Publishes that the packets taken so far have been flushed.
void publish_sent(net_cpu &cpu) noexcept
{
    for (std::size_t from = 0; from < cpu.handover.sent.size(); ++from) {
        const std::uint32_t taken = cpu.handover.in[from]->cons.tail; // which only the consumer changes
        if (cpu.handover.sent[from].load(std::memory_order_relaxed) != taken) {
            cpu.handover.sent[from].store(taken, std::memory_order_release); // pairs with handover_at()
        }
    }
}

} // namespace

rte_ring *handover_ring_create(unsigned target, unsigned producer)
{
    static std::atomic<unsigned> serial{0}; // ring names are process-wide
    const std::string name = "handover" + std::to_string(serial.fetch_add(1, std::memory_order_relaxed));
    const std::size_t bytes = tagged_ring_bytes(HANDOVER_RING);
    auto *ring = static_cast<rte_ring *>(rte_malloc(name.c_str(), bytes, RTE_CACHE_LINE_SIZE));
    if (!ring || rte_ring_init(ring, name.c_str(), HANDOVER_RING, RING_F_SP_ENQ | RING_F_SC_DEQ) != 0) {
        rte_free(ring);
        throw_errno(ENOMEM, "no ring for packets from producer " + std::to_string(producer) + " to CPU " +
                                std::to_string(target) + " (more EAL memory?)");
    }
    return ring;
}

void handover_ring_free(rte_ring *ring) noexcept
{
    tagged_packet slot;
    while (tagged_dequeue(ring, &slot, 1) == 1) {
        rte_pktmbuf_free(slot.pkt);
    }
    rte_free(ring);
}

void handover_xmit(net_cpu &cpu, net_device &dev, rte_mbuf **pkts, unsigned n) noexcept
{
    const unsigned target = dev.tx[cpu.id].owner.load(std::memory_order_relaxed);
    const unsigned taken =
        tagged_enqueue(cpu.core->cpu(target).handover.in[cpu.id], tag_of(dev.ifindex, cpu.xmit.recursion), pkts, n);
    if (taken < n) {
        stat_add(cpu.dev[dev.ifindex].tx_dropped, n - taken);
        drop_packets(cpu, DROP_HANDOVER_FULL, pkts + taken, n - taken);
    }
    if (!cpu.handover.dirty[target]) {
        cpu.handover.dirty[target] = true;
        ++cpu.handover.targets;
    }
}

int handover_poll(napi_struct &napi, int budget) noexcept
{
    net_cpu &cpu = *static_cast<cpu_napi &>(napi).cpu;
    net_cpu &by = cpu.core->cpu(napi.sd->cpu); // this CPU, or the one that serves it while it is offline
    const unsigned rings = static_cast<unsigned>(cpu.handover.in.size());
    const unsigned limit = static_cast<unsigned>(budget);
    unsigned work = 0;
    for (unsigned i = 0; i < rings && work < limit; ++i) {
        work += serve(by, cpu.handover.in[(cpu.handover.next + i) % rings], limit - work);
    }
    cpu.handover.next = (cpu.handover.next + 1) % rings;
    if (work != 0) {
        net_poll_end(by);
        publish_sent(cpu);
    }
    if (work < limit && napi_complete_done(napi, static_cast<int>(work))) {
        napi_unmask_irq(napi);
    }
    return static_cast<int>(work);
}

void handover_drain(net_cpu &cpu) noexcept
{
    net_cpu &by = cpu.core->cpu(this_softnet_data()->cpu);
    for (rte_ring *ring : cpu.handover.in) {
        serve(by, ring, rte_ring_count(ring));
    }
    net_poll_end(by);
    publish_sent(cpu);
}

handover_place handover_at(const net_core &core, unsigned from, unsigned owner) noexcept
{
    const net_cpu &to = core.cpu(owner);
    // The acquires pair with the release of enqueue and with publish_sent().
    return {__atomic_load_n(&to.handover.in[from]->prod.tail, __ATOMIC_ACQUIRE),
            to.handover.sent[from].load(std::memory_order_acquire)};
}

bool handover_waits(const net_core &core, unsigned from) noexcept
{
    for (unsigned owner = 0; owner < core.cpus(); ++owner) {
        const handover_place at = handover_at(core, from, owner);
        if (at.put != at.sent) {
            return true;
        }
    }
    return false;
}

unsigned foreign_room(const net_core &core, unsigned producer, const net_device &dev) noexcept
{
    const net_cpu &owner = core.cpu(dev.tx[producer % dev.tx.size()].owner.load(std::memory_order_relaxed));
    return rte_ring_free_count(owner.handover.in[core.cpus() + producer]);
}

unsigned net_core::foreign_xmit(unsigned producer, net_device &dev, rte_mbuf **pkts, unsigned n) noexcept
{
    const std::uint32_t limit = xmit_max_frame(dev);
    const bool running = dev.running.load(std::memory_order_relaxed);
    unsigned fit = 0;
    for (unsigned i = 0; i < n; ++i) {
        if (running && pkts[i]->pkt_len <= limit) {
            std::swap(pkts[fit++], pkts[i]);
        }
    }
    unsigned taken = 0;
    if (fit != 0) {
        const std::lock_guard lock(*foreign_mutexes_[producer]);
        net_cpu &owner = *cpus_[dev.tx[producer % dev.tx.size()].owner.load(std::memory_order_relaxed)];
        taken = tagged_enqueue(owner.handover.in[cpus() + producer], tag_of(dev.ifindex, 0), pkts, fit);
        napi_schedule(owner.handover.napi);
    }
    if (taken < n) {
        foreign_drops_.fetch_add(n - taken, std::memory_order_relaxed);
        rte_pktmbuf_free_bulk(pkts + taken, n - taken);
    }
    return taken;
}

} // namespace halfpoll
