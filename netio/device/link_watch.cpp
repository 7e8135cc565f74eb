// SPDX-License-Identifier: BSD-3-Clause
//
// The carrier of interfaces, as events report it or, if a driver sends none, as polling finds it.
#include <halfpoll/net_core.hpp>

namespace halfpoll
{

namespace
{

/// Some drivers sleep several times to read a link. A link that was up and has carried no packet since it was last read
/// is read only once in so many periods.
constexpr unsigned SILENT_PERIODS = 16;

} // namespace

/// Reads the link of a device. `told`: an event reported a change; else the link is polled.
void net_core::refresh_link(net_device &dev, bool told)
{
    bool up = false;
    try {
        up = dev.driver->link().up;
        dev.link_packets = link_packets(dev);
        dev.silent_periods = 0;
        plan_link_look(dev);
    } catch (const std::exception &e) {
        return fail_netdevice(dev, e.what());
    }
    const bool changed =
        up != dev.carrier.load(std::memory_order_relaxed) || up != dev.running.load(std::memory_order_relaxed);
    dev.carrier.store(up, std::memory_order_relaxed);
    dev.running.store(up, std::memory_order_relaxed);
    if (changed) {
        announce(dev);
    }
    for (auto &q : dev.queues) {
        if (up && q->enabled && (changed || told)) {
            napi_schedule(q->napi); // a new peer does not know that the queue waits for its interrupt (vhost-user)
        }
    }
}

/// Plans the next poll of the link, at a multiple of the period, so that one wake-up serves all devices.
void net_core::plan_link_look(net_device &dev)
{
    const ktime_t period = dev.driver->link_period();
    dev.link_look_at = period == 0 ? KTIME_MAX : (ktime_get() / period + 1) * period;
    arm_timer();
}

/// Packets received, sent and not sent.
std::uint64_t net_core::link_packets(const net_device &dev) const noexcept
{
    std::uint64_t sum = 0;
    for (const auto &cpu : cpus_) {
        const dev_stats &stats = cpu->dev[dev.ifindex];
        for (const auto *counter : {&stats.rx_packets, &stats.tx_packets, &stats.tx_dropped}) {
            sum += counter->load(std::memory_order_relaxed);
        }
    }
    return sum;
}

void net_core::look_at_links(ktime_t now)
{
    for (net_device *dev : devices()) {
        if (dev->link_look_at > now) {
            continue;
        }
        if (dev->carrier.load(std::memory_order_relaxed) && link_packets(*dev) == dev->link_packets &&
            ++dev->silent_periods < SILENT_PERIODS) {
            plan_link_look(*dev);
        } else {
            refresh_link(*dev, false);
        }
    }
}

} // namespace halfpoll
