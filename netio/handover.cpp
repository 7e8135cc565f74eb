// SPDX-License-Identifier: BSD-3-Clause
//
// Every tx queue has one owner CPU; others reach it over single-producer rings:
//
//   CPU 0, CPU 1, ..., foreign thread k  --(one ring each)-->  handover NAPI of the owner -> dev_queue_xmit
#define RTE_USE_C11_MEM_MODEL // acquire and release that a race checker understands; the same instructions
#include "net_core_internal.hpp"

#include <rte_mbuf.h>
#include <rte_ring.h>

#include <algorithm>

namespace halfpoll
{
namespace
{

/// Travels at the start of the buffer, in front of any header that a rewrite may prepend.
struct handover_meta {
    ifindex_t ifindex;
};

bool has_room(const rte_mbuf *m) noexcept
{
    return m->data_off >= sizeof(handover_meta) && RTE_MBUF_DIRECT(m) && rte_mbuf_refcnt_read(m) == 1;
}

ifindex_t ifindex_of(const rte_mbuf *m) noexcept { return static_cast<const handover_meta *>(m->buf_addr)->ifindex; }

/// Sends a burst from a ring, a run of packets for the same device at a time.
void deliver(net_cpu &cpu, rte_mbuf **pkts, unsigned n) noexcept
{
    for (unsigned first = 0, end; first < n; first = end) {
        const ifindex_t ifindex = ifindex_of(pkts[first]);
        for (end = first + 1; end < n && ifindex_of(pkts[end]) == ifindex; ++end) {
        }
        if (xmit_queue *q = cpu.xmit[ifindex].get()) {
            dev_queue_xmit(cpu, *q->dev, pkts + first, end - first);
        } else {
            drop_packets(cpu, DROP_DEV_READY, pkts + first, end - first);
        }
    }
}

unsigned serve(net_cpu &cpu, rte_ring *ring, unsigned limit) noexcept
{
    rte_mbuf *pkts[NET_BURST];
    unsigned work = 0;
    while (work < limit) {
        const unsigned n = rte_ring_sc_dequeue_burst(ring, reinterpret_cast<void **>(pkts),
                                                     std::min(NET_BURST, limit - work), nullptr);
        if (n == 0) {
            break;
        }
        deliver(cpu, pkts, n);
        work += n;
    }
    return work;
}

} // namespace

unsigned handover_enqueue(rte_ring *ring, ifindex_t ifindex, rte_mbuf **pkts, unsigned n) noexcept
{
    for (unsigned i = 0; i < n; ++i) {
        static_cast<handover_meta *>(pkts[i]->buf_addr)->ifindex = ifindex;
    }
    return rte_ring_sp_enqueue_burst(ring, reinterpret_cast<void **>(pkts), n, nullptr);
}

void handover_xmit(net_cpu &cpu, net_device &dev, rte_mbuf **pkts, unsigned n) noexcept
{
    unsigned fit = 0;
    for (unsigned i = 0; i < n; ++i) {
        if (has_room(pkts[i])) {
            pkts[fit++] = pkts[i];
        } else {
            stat_add(cpu.dev[dev.ifindex].tx_dropped);
            drop_packets(cpu, DROP_NOMEM, &pkts[i], 1);
        }
    }
    const unsigned target = dev.tx[cpu.id].owner.load(std::memory_order_relaxed);
    const unsigned taken = handover_enqueue(cpu.core->cpu(target).handover_in[cpu.id], dev.ifindex, pkts, fit);
    if (taken < fit) {
        stat_add(cpu.dev[dev.ifindex].tx_dropped, fit - taken);
        drop_packets(cpu, DROP_HANDOVER_FULL, pkts + taken, fit - taken);
    }
    if (!cpu.handover_dirty[target]) {
        cpu.handover_dirty[target] = true;
        ++cpu.handover_targets;
    }
}

int handover_poll(napi_struct &napi, int budget) noexcept
{
    net_cpu &cpu = *static_cast<cpu_napi &>(napi).cpu;
    net_cpu &by = cpu.core->cpu(napi.sd->cpu); // another one while it is offline
    const unsigned rings = static_cast<unsigned>(cpu.handover_in.size());
    const unsigned limit = static_cast<unsigned>(budget);
    unsigned work = 0;
    for (unsigned i = 0; i < rings && work < limit; ++i) {
        work += serve(by, cpu.handover_in[(cpu.handover_next + i) % rings], limit - work);
    }
    cpu.handover_next = (cpu.handover_next + 1) % rings;
    if (work != 0) {
        xmit_flush(by);
    }
    if (work < limit && napi_complete_done(napi, static_cast<int>(work))) {
        napi_unmask_irq(napi);
    }
    return static_cast<int>(work);
}

void handover_drain(net_cpu &cpu) noexcept
{
    net_cpu &by = cpu.core->cpu(this_softnet_data()->cpu);
    for (rte_ring *ring : cpu.handover_in) {
        serve(by, ring, rte_ring_count(ring));
    }
    xmit_flush(by);
}

handover_place handover_at(const net_core &core, unsigned from, unsigned owner) noexcept
{
    const rte_ring *ring = core.cpu(owner).handover_in[from];
    // Both acquire; they pair with the releases of enqueue and dequeue.
    return {__atomic_load_n(&ring->prod.tail, __ATOMIC_ACQUIRE), __atomic_load_n(&ring->cons.tail, __ATOMIC_ACQUIRE)};
}

bool handover_waits(const net_core &core, unsigned from) noexcept
{
    for (unsigned owner = 0; owner < core.cpus(); ++owner) {
        const handover_place at = handover_at(core, from, owner);
        if (at.put != at.taken) {
            return true;
        }
    }
    return false;
}

unsigned net_core::foreign_xmit(unsigned producer, net_device &dev, rte_mbuf **pkts, unsigned n) noexcept
{
    const std::uint32_t limit = xmit_max_frame(dev);
    const bool running = dev.running.load(std::memory_order_relaxed);
    unsigned fit = 0;
    for (unsigned i = 0; i < n; ++i) {
        if (running && pkts[i]->pkt_len <= limit && has_room(pkts[i])) {
            std::swap(pkts[fit++], pkts[i]);
        }
    }
    unsigned taken = 0;
    if (fit != 0) {
        const std::lock_guard lock(*foreign_mutexes_[producer]);
        net_cpu &owner = *cpus_[dev.tx[producer % dev.tx.size()].owner.load(std::memory_order_relaxed)];
        taken = handover_enqueue(owner.handover_in[cpus() + producer], dev.ifindex, pkts, fit);
        napi_schedule(owner.handover);
    }
    if (taken < n) {
        foreign_drops_.fetch_add(n - taken, std::memory_order_relaxed);
        rte_pktmbuf_free_bulk(pkts + taken, n - taken);
    }
    return taken;
}

} // namespace halfpoll
