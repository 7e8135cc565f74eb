// SPDX-License-Identifier: BSD-3-Clause
#include "link_watch.hpp"

namespace halfpoll
{
namespace
{

/// Some drivers sleep several times to read a link. A link that was up and has carried no packet since it was last read
/// is read only once in so many periods.
constexpr unsigned SILENT_PERIODS = 16;

} // namespace

void link_watch::refresh(net_device &dev, bool told)
{
    bool up = false;
    try {
        up = dev.driver->link().up;
        dev.link_packets = packets(dev);
        dev.silent_periods = 0;
        plan_look(dev);
    } catch (const std::exception &e) {
        return failure_.fail(dev, e.what());
    }
    const bool changed =
        up != dev.carrier.load(std::memory_order_relaxed) || up != dev.running.load(std::memory_order_relaxed);
    dev.carrier.store(up, std::memory_order_relaxed);
    dev.running.store(up, std::memory_order_relaxed);
    if (changed) {
        notifier_.changed(dev);
    }
    for (auto &q : dev.queues) {
        if (up && q->enabled && (changed || told)) {
            napi_schedule(q->napi); // a new peer does not know that the queue waits for its interrupt (vhost-user)
        }
    }
}

/// Plans the next poll of the link, at a multiple of the period, so that one wake-up serves all devices.
void link_watch::plan_look(net_device &dev) const
{
    const ktime_t period = dev.driver->link_period();
    dev.link_look_at = period == 0 ? KTIME_MAX : (ktime_get() / period + 1) * period;
    timer_.arm();
}

/// Packets received, sent and not sent.
std::uint64_t link_watch::packets(const net_device &dev) const noexcept
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

void link_watch::look(ktime_t now)
{
    for (net_device *dev : devices_.all()) {
        if (dev->link_look_at > now) {
            continue;
        }
        if (dev->carrier.load(std::memory_order_relaxed) && packets(*dev) == dev->link_packets &&
            ++dev->silent_periods < SILENT_PERIODS) {
            plan_look(*dev);
        } else {
            refresh(*dev, false);
        }
    }
}

} // namespace halfpoll
