// SPDX-License-Identifier: BSD-3-Clause
//
// Accelerated RFS: the device brings a flow to a queue of the CPU that consumes it.
//
//   flow moves (rfs.cpp) -> arfs_request_flow() -> ring -> control thread -> rx_flow_steer() -> packets come elsewhere
//                                                          every 100 ms      rx_flow_expire() <- rps_may_expire_flow()
#include "netio/flow/flow_dissect.hpp"
#include "rps_internal.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace halfpoll
{
namespace
{

constexpr ktime_t ARFS_PERIOD = 100 * NSEC_PER_MSEC; ///< between two runs of arfs_look_at_flows() for a device
constexpr ktime_t ARFS_GRACE = 5 * ARFS_PERIOD;      ///< time before a new rule may expire

/// Reads the flow of an untagged TCP or UDP packet. False: no rule is made for such a packet.
bool tuple_of(const rte_mbuf *m, flow_tuple &flow) noexcept
{
    const auto *frame = rte_pktmbuf_mtod(m, const std::uint8_t *);
    const flow_keys keys = flow_dissect(m);
    const unsigned length = keys.ip6 ? 16 : 4;
    if (keys.ports == 0 || keys.addresses != frame + (keys.ip6 ? 22 : 26)) {
        return false;
    }
    flow.ip6 = keys.ip6;
    flow.protocol = frame[keys.ip6 ? 20 : 23];
    std::copy_n(keys.addresses, length, flow.src.begin());
    std::copy_n(keys.addresses + length, length, flow.dst.begin());
    std::memcpy(&flow.sport, &keys.ports, 2);
    std::memcpy(&flow.dport, reinterpret_cast<const char *>(&keys.ports) + 2, 2);
    return flow.protocol == 6 || flow.protocol == 17; // else IPv6 extension headers precede the ports
}

rps_dev_flow *entry_of(rx_queue &q, std::uint32_t hash) noexcept
{
    if (!q.rps || q.rps->now.flows.empty()) {
        return nullptr;
    }
    return &q.rps->now.flows[hash & q.rps->now.flow_mask()];
}

template <typename F>
void at_home(rx_queue &q, F &&fn)
{
    q.cpu->core->rt().call_on(q.cpu->id, [&](softnet_data &) { fn(); });
}

/// Whether the rule of a flow has expired: its table entry has another rule, the flow is processed on this CPU, or the
/// ring to its CPU has delivered 10 packets for each table entry since the flow's last packet.
bool rps_may_expire_flow(rx_queue &q, std::uint32_t hash, int filter) noexcept
{
    const rps_dev_flow *flow = entry_of(q, hash);
    if (!flow || flow->filter != filter || flow->cpu == q.cpu->rps->here) {
        return true;
    }
    const std::uint32_t since = backlog_head(*q.cpu, flow->cpu) - flow->last_qtail;
    return static_cast<std::int32_t>(since) >= static_cast<std::int32_t>(10 * q.rps->now.flow_mask());
}

/// False: the device keeps the rule for now.
bool remove(net_device &dev, arfs_state::filter_map::iterator which)
{
    if (!dev.driver->rx_flow_expire(which->second.filter)) {
        return false;
    }
    dev.arfs->filters.erase(which);
    return true;
}

void steer(rx_queue &from, const arfs_request &request, ktime_t now)
{
    net_device &dev = *from.dev;
    arfs_state &arfs = *dev.arfs;
    const auto old = arfs.filters.find(request.flow);
    const bool free = old == arfs.filters.end() || remove(dev, old);
    const int filter = free ? dev.driver->rx_flow_steer(request.flow, request.queue) : -EBUSY;
    if (filter < 0) {
        ++from.steering->refused;
        return;
    }
    rx_queue &q = *dev.queues[request.queue];
    arfs.filters[request.flow] = {filter, request.queue, request.hash, now};
    at_home(q, [&] {
        if (rps_dev_flow *flow = entry_of(q, request.hash)) {
            flow->filter = static_cast<std::uint16_t>(filter);
        }
    });
}

void expire(net_device &dev, ktime_t now)
{
    arfs_state &arfs = *dev.arfs;
    for (auto it = arfs.filters.begin(); it != arfs.filters.end();) {
        const auto here = it++;
        const arfs_filter &filter = here->second;
        if (now - filter.since < ARFS_GRACE) {
            continue;
        }
        rx_queue &q = *dev.queues[filter.queue];
        bool over = false;
        at_home(q, [&] { over = rps_may_expire_flow(q, filter.hash, filter.filter); });
        if (over) {
            remove(dev, here); // at the next look again, if the device keeps it
        }
    }
}

} // namespace

void arfs_request_flow(rps_queue &rps, const rte_mbuf *m, std::uint32_t hash, unsigned cpu) noexcept
{
    arfs_ring &ring = *rps.arfs;
    const std::uint16_t queue = ring.queue_of_cpu[cpu];
    const std::uint32_t tail = ring.tail.load(std::memory_order_relaxed);
    if (queue == ring.own_queue || queue == arfs_ring::NO_QUEUE ||
        // Pairs with the release in arfs_look_at_flows().
        tail - ring.head.load(std::memory_order_acquire) == ring.requests.size()) {
        return;
    }
    arfs_request &request = ring.requests[tail % ring.requests.size()];
    request.flow = {};
    if (tuple_of(m, request.flow)) {
        request.hash = hash;
        request.queue = queue;
        ring.tail.store(tail + 1, std::memory_order_release); // pairs with the acquire in arfs_look_at_flows()
    }
}

void arfs_start(net_device &dev)
{
    dev.arfs.reset();
    dev.arfs_look_at = KTIME_MAX;
    if (!dev.options.ntuple || !dev.driver->has_ntuple()) {
        return;
    }
    dev.arfs = std::make_shared<arfs_state>();
    dev.arfs_look_at = ktime_get() + ARFS_PERIOD;
}

std::unique_ptr<arfs_ring> make_arfs_ring(const rx_queue &q)
{
    if (!q.dev->arfs) {
        return nullptr;
    }
    auto ring = std::make_unique<arfs_ring>();
    ring->own_queue = q.queue;
    ring->queue_of_cpu.assign(q.cpu->core->cpus(), arfs_ring::NO_QUEUE);
    for (const auto &other : q.dev->queues) {
        ring->queue_of_cpu[other->cpu->id] = other->queue;
    }
    ring->queue_of_cpu[q.cpu->id] = q.queue;
    return ring;
}

void arfs_stop(net_device &dev) noexcept
{
    dev.arfs.reset(); // the rules end with the queues
    dev.arfs_look_at = KTIME_MAX;
}

std::uint64_t arfs_filters(const rx_queue &q) noexcept
{
    const arfs_state *arfs = q.dev->arfs.get();
    return arfs ? static_cast<std::uint64_t>(std::ranges::count_if(
                      arfs->filters, [&](const auto &entry) { return entry.second.queue == q.queue; }))
                : 0;
}

void arfs_look_at_flows(const device_table &devices, ktime_t now)
{
    for (net_device *dev : devices.all()) {
        if (now < dev->arfs_look_at || !dev->arfs || dev->recovering) {
            continue;
        }
        for (const auto &q : dev->queues) {
            arfs_ring *ring = q->steering ? q->steering->arfs.get() : nullptr;
            for (std::uint32_t head = ring ? ring->head.load(std::memory_order_relaxed) : 0;
                 ring && head != ring->tail.load(std::memory_order_acquire);) { // pairs with arfs_request_flow()
                steer(*q, ring->requests[head % ring->requests.size()], now);
                ring->head.store(++head, std::memory_order_release); // pairs with arfs_request_flow()
            }
        }
        expire(*dev, now);
        dev->arfs_look_at = now + ARFS_PERIOD;
    }
}

} // namespace halfpoll
