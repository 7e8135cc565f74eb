// SPDX-License-Identifier: BSD-3-Clause
#include "netio/base/burst_length.hpp"
#include "redirect_map.hpp"
#include "xdp_trace.hpp"

#include <halfpoll/stat_add.hpp>

#include <rte_branch_prediction.h>
#include <rte_mbuf.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace halfpoll
{

/// An entry of the map. It never changes after it is linked.
struct devmap_entry {
    std::uint32_t key;
    net_device *dev;
    std::shared_ptr<xdp_program> prog;
    std::atomic<devmap_entry *> next{nullptr};

    xdp_map_entry shown() const { return {.key = key, .ifindex = dev->ifindex, .prog = prog}; }
    bool leads_to(const net_device &to) const noexcept { return dev == &to; }
};

class devmap final : public redirect_map<devmap_entry>
{
public:
    using redirect_map::redirect_map;
    void update(const xdp_map_entry &entry, std::uint64_t flags) override;
};

void devmap::update(const xdp_map_entry &entry, std::uint64_t flags)
{
    net_device *dev = core_.dev_get(entry.ifindex);
    if (!dev) {
        throw error("XDP map " + name + ": there is no interface " + std::to_string(entry.ifindex));
    }
    check(entry.key, flags);
    link(std::unique_ptr<devmap_entry>(new devmap_entry{entry.key, dev, entry.prog}));
}

std::shared_ptr<xdp_map> make_devmap(net_core &core, std::string name, xdp_map_type type, unsigned max_entries)
{
    return std::make_shared<devmap>(core, std::move(name), type, max_entries);
}

namespace
{

/// Length in bytes of the longest frame that may be redirected to a device.
std::uint32_t fwd_max_frame(const net_device &dev) noexcept
{
    return dev.mtu.load(std::memory_order_relaxed) + RTE_ETHER_HDR_LEN + RTE_VLAN_HLEN;
}

/// Sends the packets of a bulk queue; then the queue is empty. net_poll_end() rings the doorbell for the last batch of
/// a poll.
void bq_xmit_all(net_cpu &cpu, dev_bulk_queue &bq) noexcept
{
    const unsigned outer = std::exchange(cpu.xmit.recursion, bq.depth);
    bq.xmitting = true;
    unsigned n = bq.count;
    if (likely(!bq.xdp_prog)) {
        dev_queue_xmit(cpu, *bq.dev, bq.q.data(), n, bq.bytes);
    } else if ((n = xdp_run_further(cpu, *bq.xdp_prog, *bq.dev_rx, bq.dev, bq.q.data(), n)) != 0) {
        dev_queue_xmit(cpu, *bq.dev, bq.q.data(), n); // the program may have changed their lengths
    }
    if (xdp_trace_enabled()) {
        trace_xdp_devmap_xmit(*bq.dev_rx, *bq.dev, n, bq.count - n);
    }
    bq.count = 0;
    bq.bytes = 0;
    bq.xmitting = false;
    cpu.xmit.recursion = outer;
}

/// Returns this CPU's bulk queue of a device, on the flush list, for packets from `dev_rx` that meet `prog`. Null: the
/// queue is being sent, and a virtual device redirects back to it.
dev_bulk_queue *bq_get(const redirect_guard &guard, net_cpu &cpu, net_device &dev, net_device &dev_rx,
                       xdp_program *prog) noexcept
{
    dev_bulk_queue &bq = guard->dev[dev.ifindex];
    if (unlikely(bq.xmitting)) {
        return nullptr;
    }
    if (!bq.dev_rx) {
        bq.dev = &dev;
        bq.next = std::exchange(guard->dev_flush_list, &bq);
    } else if (unlikely(bq.dev_rx != &dev_rx || bq.xdp_prog != prog)) {
        bq_xmit_all(cpu, bq);
    }
    bq.dev_rx = &dev_rx;
    bq.xdp_prog = prog;
    bq.depth = bq.count == 0 ? cpu.xmit.recursion : std::max(bq.depth, cpu.xmit.recursion);
    return &bq;
}

/// Puts packets from run.in on the bulk queue of a device. Takes ownership.
void bq_enqueue(const redirect_guard &guard, const redirect_run &run, net_device &dev, xdp_program *prog,
                rte_mbuf **pkts, unsigned n, std::uint64_t bytes) noexcept
{
    net_cpu &cpu = run.cpu;
    dev_bulk_queue *const queue = bq_get(guard, cpu, dev, run.in, prog);
    if (unlikely(!queue)) {
        stat_add(cpu.dev[dev.ifindex].tx_dropped, n);
        return drop_packets(cpu, DROP_RECURSION_LIMIT, pkts, n);
    }
    dev_bulk_queue &bq = *queue;
    while (bq.count + n > DEV_MAP_BULK_SIZE) {
        const unsigned k = DEV_MAP_BULK_SIZE - bq.count;
        const std::uint64_t part = bytes_of(pkts, k);
        std::copy_n(pkts, k, bq.q.begin() + bq.count);
        bq.count = DEV_MAP_BULK_SIZE;
        bq.bytes += part;
        bq_xmit_all(cpu, bq);
        bq.depth = cpu.xmit.recursion;
        pkts += k;
        n -= k;
        bytes -= part;
    }
    std::copy_n(pkts, n, bq.q.begin() + bq.count);
    bq.count += n;
    bq.bytes += bytes;
}

/// Drops frames over the limit; returns how many are left, in front.
unsigned drop_oversize(const redirect_run &run, std::uint32_t limit, rte_mbuf **pkts, unsigned n) noexcept
{
    unsigned kept = 0;
    for (unsigned i = 0; i < n; ++i) {
        if (pkts[i]->pkt_len > limit) {
            redirect_error(run, xdp_error::emsgsize, &pkts[i], 1);
        } else {
            pkts[kept++] = pkts[i];
        }
    }
    return kept;
}

/// Redirects the packets of a run to one device.
void dev_enqueue(const redirect_guard &guard, const redirect_run &run, net_device &dev, xdp_program *prog) noexcept
{
    rte_mbuf **pkts = run.pkts();
    unsigned n = run.n;
    if (unlikely(!dev.running.load(std::memory_order_relaxed))) {
        return redirect_error(run, xdp_error::enetdown, pkts, n);
    }
    const std::uint32_t limit = fwd_max_frame(dev);
    burst_length lengths = length_of(pkts, n, limit);
    if (unlikely(lengths.oversize)) {
        n = drop_oversize(run, limit, pkts, n);
        lengths.bytes = bytes_of(pkts, n);
    }
    bq_enqueue(guard, run, dev, prog, pkts, n, lengths.bytes);
}

/// Copies packet i with its metadata into a writable packet. Null: no buffer is free.
rte_mbuf *copy_of(net_cpu &cpu, const halfpoll_xdp_burst &burst, unsigned i) noexcept
{
    rte_mbuf *copy = rte_pktmbuf_copy(burst.pkts[i], cpu.cache->pool(), 0, UINT32_MAX);
    if (const std::uint32_t meta = xdp_meta_len(&burst, i); unlikely(meta != 0 && copy)) {
        if (meta > rte_pktmbuf_headroom(copy)) {
            copy->ol_flags &= ~burst.meta_flag;
        } else {
            std::memcpy(rte_pktmbuf_mtod(copy, std::uint8_t *) - meta, xdp_data_meta(&burst, i), meta);
        }
    }
    return copy;
}

bool takes(const net_device &dev, const rte_mbuf *m) noexcept
{
    return dev.running.load(std::memory_order_relaxed) && m->pkt_len <= fwd_max_frame(dev);
}

/// Sends packet i to all devices of the map that take it: copies to all but the last one, which gets the packet itself.
void dev_enqueue_multi(const redirect_guard &guard, const redirect_run &run, const devmap &map, unsigned i) noexcept
{
    rte_mbuf **m = &run.burst.pkts[i];
    const bool exclude = run.target().flags & BPF_F_EXCLUDE_INGRESS;
    const devmap_entry *last = nullptr;
    bool copied = true;
    const auto send = [&](const devmap_entry &to, rte_mbuf *pkt) {
        bq_enqueue(guard, run, *to.dev, to.prog.get(), &pkt, 1, pkt->pkt_len);
    };
    map.table().for_each([&](const devmap_entry &to) {
        if (!copied || (exclude && to.dev == &run.in) || !takes(*to.dev, *m)) {
            return;
        }
        if (last) {
            rte_mbuf *copy = copy_of(run.cpu, run.burst, i);
            copied = copy != nullptr;
            if (copied) {
                send(*last, copy);
            }
        }
        last = &to;
    });
    if (unlikely(!copied || !last)) {
        return redirect_error(run, copied ? xdp_error::enoent : xdp_error::enomem, m, 1);
    }
    send(*last, *m);
}

} // namespace

bool devmap_redirect(const redirect_guard &guard, const redirect_run &run) noexcept
{
    const devmap &map = static_cast<const devmap &>(*run.target().map);
    if (unlikely((run.target().flags & BPF_F_BROADCAST) != 0)) {
        for (unsigned i = run.first; i < run.first + run.n; ++i) {
            dev_enqueue_multi(guard, run, map, i);
        }
        return true;
    }
    const devmap_entry *entry = map.table().lookup(run.target().key);
    if (unlikely(!entry)) {
        return false;
    }
    dev_enqueue(guard, run, *entry->dev, entry->prog.get());
    return true;
}

void dev_redirect(const redirect_guard &guard, const redirect_run &run, net_device &dev) noexcept
{
    dev_enqueue(guard, run, dev, nullptr);
}

void dev_flush(net_cpu &cpu) noexcept
{
    const redirect_guard guard(cpu);
    // Packets that virtual devices redirect meanwhile go on a new list, unless their queue is still to come on this
    // one.
    for (dev_bulk_queue *bq = std::exchange(guard->dev_flush_list, nullptr), *next; bq; bq = next) {
        bq_xmit_all(cpu, *bq);
        next = bq->next;
        bq->dev_rx = nullptr; // off the list
        bq->xdp_prog = nullptr;
    }
}

} // namespace halfpoll
