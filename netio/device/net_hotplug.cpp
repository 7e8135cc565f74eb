// SPDX-License-Identifier: BSD-3-Clause
//
// How rx and tx queues get other CPUs while packets flow. Meanwhile arriving packets stay in the devices. The packets
// that were received are sent, then homes and owners change, then reception continues. So no packet is lost, and none
// overtakes an earlier packet of its flow on another way.
#include "net_hotplug.hpp"
#include "netio/buffers/skb_defer.hpp"
#include "netio/xdp/redirect.hpp"
#include "netio/xmit/xmit.hpp"

#include <halfpoll/backlog.hpp>
#include <halfpoll/rps.hpp>

#include <rte_ring.h>

#include <algorithm>
#include <chrono>
#include <thread>

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
           std::ranges::any_of(cpu.handover.in, [](const rte_ring *ring) { return rte_ring_empty(ring) == 0; });
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

/// While it exists, no packet is received and none is under way.
class net_hotplug::traffic_hold
{
public:
    /// Throws `error` if packets are still under way after DRAIN_PATIENCE.
    explicit traffic_hold(const net_hotplug &of)
    {
        try {
            stop_receiving(of.devices_);
            wait_while([&] { return of.elsewhere_in_flight_ && of.elsewhere_in_flight_(); },
                       "packets wait for the slow path");
            for (const auto &mutex : of.foreign_) {
                foreign_.emplace_back(*mutex);
            }
            wait_while([&] { return of.in_flight(); }, "packets are under way");
        } catch (...) {
            receive();
            throw;
        }
    }
    ~traffic_hold() { receive(); }
    traffic_hold(const traffic_hold &) = delete;
    traffic_hold &operator=(const traffic_hold &) = delete;

private:
    void stop_receiving(const device_table &devices)
    {
        devices.for_each([&](const net_device &dev) {
            for (const auto &q : dev.queues) {
                if (q->enabled) {
                    napi_disable_announce(q->napi);
                    held_.push_back(q.get());
                }
            }
        });
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

    std::vector<rx_queue *> held_;
    std::vector<std::unique_lock<std::mutex>> foreign_;
};

net_hotplug::net_hotplug(const data_cpus &cpus, const device_table &devices, const queue_placement &placement,
                         const std::vector<std::unique_ptr<std::mutex>> &foreign,
                         const std::function<bool()> &elsewhere_in_flight)
    : cpus_(cpus), devices_(devices), placement_(placement), foreign_(foreign),
      elsewhere_in_flight_(elsewhere_in_flight),
      step_(cpus.rt().cpuhp_setup_state({.name = "netio",
                                         .online = [this](unsigned cpu) { cpu_moves(cpu, true); },
                                         .offline = [this](unsigned cpu) { cpu_moves(cpu, false); }}))
{
}

net_hotplug::~net_hotplug() { cpus_.rt().cpuhp_remove_state(step_); }

/// Whether some CPU has packets for another CPU or for a device.
bool net_hotplug::in_flight() const
{
    bool any = false;
    cpus_.call_on_each([&](net_cpu &cpu) { any |= has_unsent(cpu); });
    return any;
}

/// Takes a running CPU into service for packets, or out of it.
void net_hotplug::cpu_moves(unsigned cpu, bool active)
{
    net_cpu &moves = cpus_[cpu];
    {
        const traffic_hold hold(*this);
        moves.active.store(active, std::memory_order_relaxed);
        devices_.for_each([&](net_device &dev) {
            if (dev.open) {
                placement_.place(dev);
            }
        });
        rps_set_online(*moves.core, cpu, active); // in force at once, because no packet is in flight
    }
    if (!active) {
        cpus_.rt().call_on(cpu, [&](softnet_data &) {
            defer_take(moves);
            moves.cache->drain();
        });
    }
}

} // namespace halfpoll
