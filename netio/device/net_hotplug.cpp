// SPDX-License-Identifier: BSD-3-Clause
//
// The assignment of CPUs to rx and tx queues, and its change while packets flow. Meanwhile arriving packets stay in the
// devices. The packets that were received are sent, then homes and owners change, then reception continues. So no
// packet is lost, and none overtakes an earlier packet of its flow on another way.
#include "net_rx_poll.hpp"

#include <halfpoll/backlog.hpp>

#include "netio/buffers/skb_defer.hpp"
#include "netio/xdp/redirect.hpp"
#include "netio/xmit/handover.hpp"
#include "netio/xmit/shared_tx_queue.hpp"
#include "netio/xmit/xmit.hpp"

#include <halfpoll/rps.hpp>

#include <rte_ring.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

namespace halfpoll
{
namespace
{

constexpr ktime_t DRAIN_PATIENCE = NSEC_PER_SEC; ///< a full tx ring is given up after a millisecond, see xmit.cpp
constexpr std::chrono::microseconds DRAIN_NAP{20};

/// Whether a CPU has packets that are not sent yet. On that CPU, or on the CPU that serves it while it is offline;
/// between polls.
bool has_unsent(net_cpu &cpu) noexcept
{
    net_poll_end(cpu);
    for (unsigned target = 0; target < cpu.core->cpus(); ++target) {
        if (backlog_tail(cpu, target) != backlog_head(cpu, target)) {
            return true;
        }
    }
    return xmit_keeps(cpu) || cpumap_in_flight(cpu) ||
           std::ranges::any_of(cpu.handover_in, [](const rte_ring *ring) { return rte_ring_empty(ring) == 0; });
}

/// Waits until nothing is under way, for two rounds in a row: the first round may check a CPU before another CPU hands
/// it a packet.
template <typename F>
void wait_while(F under_way, const char *what)
{
    const ktime_t give_up = ktime_get() + DRAIN_PATIENCE;
    for (unsigned idle = 0; idle < 2;) {
        if (!under_way()) {
            ++idle;
            continue;
        }
        idle = 0;
        if (ktime_get() > give_up) {
            throw error(std::string(what) + " after a second; the CPUs are too busy, or a device does not send");
        }
        std::this_thread::sleep_for(DRAIN_NAP);
    }
}

} // namespace

void route_tx(net_device &dev, const std::vector<tx_choice> &choices)
{
    if (dev.tx.empty()) {
        dev.tx = std::vector<tx_route>(choices.size());
    }
    for (std::size_t c = 0; c < choices.size(); ++c) {
        dev.tx[c].queue.store(choices[c].queue, std::memory_order_relaxed);
        dev.tx[c].owner.store(choices[c].owner, std::memory_order_relaxed);
    }
}

/// While it exists, no packet is received and none is under way. Control thread.
class net_core::traffic_hold
{
public:
    /// Throws `error` if packets are still under way after DRAIN_PATIENCE.
    explicit traffic_hold(net_core &core) : core_(core)
    {
        try {
            stop_receiving();
            wait_while([&] { return core_.elsewhere_in_flight && core_.elsewhere_in_flight(); },
                       "packets wait for the slow path");
            for (const auto &mutex : core_.foreign_mutexes_) {
                foreign_.emplace_back(*mutex);
            }
            wait_while([&] { return core_.in_flight(); }, "packets are under way");
        } catch (...) {
            receive();
            throw;
        }
    }
    ~traffic_hold() { receive(); }
    traffic_hold(const traffic_hold &) = delete;
    traffic_hold &operator=(const traffic_hold &) = delete;

private:
    void stop_receiving()
    {
        for (const net_device *dev : core_.devices()) {
            for (const auto &q : dev->queues) {
                if (q->enabled) {
                    napi_disable_announce(q->napi);
                    held_.push_back(q.get());
                }
            }
        }
        for (rx_queue *q : held_) {
            napi_disable(q->napi);
        }
    }
    void receive() noexcept
    {
        foreign_.clear();
        for (rx_queue *q : held_) {
            napi_enable(q->napi);
        }
    }

    net_core &core_;
    std::vector<rx_queue *> held_;
    std::vector<std::unique_lock<std::mutex>> foreign_;
};

/// Whether some CPU has packets for another CPU or for a device.
bool net_core::in_flight()
{
    bool any = false;
    for (const auto &cpu : cpus_) {
        rt_.call_on(cpu->id, [&](softnet_data &) { any |= has_unsent(*cpu); });
    }
    return any;
}

placement_cpus net_core::placed_cpus() const
{
    placement_cpus placed;
    for (unsigned c = 0; c < cpus(); ++c) {
        placed.push_back({!rt_.options().cpus[c].dedicated, cpu_active(c), rt_.first_on_core(c)});
    }
    return placed;
}

/// What a CPU that owns a tx queue sends by: the device itself if the CPU is alone on its logical CPU, else the locked
/// queue that the runtime CPUs there share.
tx_port *net_core::driver_for(net_device &dev, const net_cpu &cpu, unsigned queue)
{
    if (!rt_.shares_core(cpu.id)) {
        return dev.driver.get();
    }
    dev.shared_tx.resize(dev.tx_queues);
    std::shared_ptr<shared_tx_queue> &shared = dev.shared_tx[queue];
    const int affinity = rt_.options().cpus[cpu.id].affinity;
    if (!shared || shared->cpu() != affinity) { // no CPU sends by the former one any more
        shared = std::make_shared<shared_tx_queue>(*dev.driver, affinity);
    }
    return shared.get();
}

/// Makes a CPU the owner of the tx queue in its route.
void net_core::give_tx_queue(net_device &dev, net_cpu &cpu)
{
    auto q = std::make_unique<xmit_queue>();
    q->dev = &dev;
    q->queue = dev.tx[cpu.id].queue.load(std::memory_order_relaxed);
    q->driver = driver_for(dev, cpu, q->queue);
    rt_.call_on(cpu.id, [&](softnet_data &) { cpu.xmit[dev.ifindex] = std::move(q); });
}

/// Gives queues the homes and owners that suit the CPUs which are online. Nothing is under way.
void net_core::place(net_device &dev)
{
    const placement_cpus placed = placed_cpus();
    const std::vector<unsigned> homes = rx_homes(placed, dev.options.cpus, dev.options.rx_queues);
    for (std::size_t i = 0; i < dev.queues.size(); ++i) {
        rx_queue &q = *dev.queues[i];
        net_cpu &home = *cpus_[homes[i]];
        if (q.cpu != &home) {
            napi_set_home(q.napi, *home.sd);
            q.cpu = &home;
        }
    }
    const std::vector<tx_choice> choices = choose_tx(placed, homes, dev.tx_queues);
    for (const auto &cpu : cpus_) {
        const xmit_queue *q = cpu->xmit[dev.ifindex].get();
        const tx_choice &choice = choices[cpu->id];
        if (q && (choice.owner != cpu->id || choice.queue != q->queue)) {
            rt_.call_on(cpu->id, [&](softnet_data &) { xmit_remove(*cpu, dev, true); });
        }
    }
    route_tx(dev, choices);
    for (const auto &cpu : cpus_) {
        if (choices[cpu->id].owner == cpu->id && !cpu->xmit[dev.ifindex]) {
            give_tx_queue(dev, *cpu);
        }
    }
}

/// Takes a running CPU into service for packets, or out of it.
void net_core::cpu_moves(unsigned cpu, bool active)
{
    {
        const traffic_hold hold(*this);
        cpus_[cpu]->active.store(active, std::memory_order_relaxed);
        for (net_device *dev : devices()) {
            if (dev->open) {
                place(*dev);
            }
        }
        rps_set_online(*this, cpu, active); // in force at once, because no packet is in flight
    }
    if (!active) {
        rt_.call_on(cpu, [&](softnet_data &) {
            defer_take(*cpus_[cpu]);
            cpus_[cpu]->cache->drain();
        });
    }
}

} // namespace halfpoll
