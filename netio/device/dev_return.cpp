// SPDX-License-Identifier: BSD-3-Clause
//
// Events that drivers report, other than link changes, and the return of devices.
#include <halfpoll/net_core.hpp>

#include <algorithm>

namespace halfpoll
{
namespace
{

constexpr ktime_t RETURN_LOOK = NSEC_PER_SEC; ///< between attempts to find a device that is away
/// Maximum for a device that is present and does not open; the interval doubles up to this.
constexpr ktime_t RETURN_LOOK_MAX = 60 * NSEC_PER_SEC;

} // namespace

void net_core::handle_event(net_device &dev, port_event event)
{
    switch (event) {
    case port_event::link:
        if (!dev.recovering) {
            refresh_link(dev, true);
        }
        break;
    case port_event::queues:
        reopen_for_queues(dev);
        break;
    case port_event::removed:
        fail_netdevice(dev, dev.device + " was removed");
        break;
    case port_event::reset:
        reset_device(dev);
        break;
    case port_event::recovering:
        suspend(dev);
        break;
    case port_event::recovered:
        resume(dev);
        break;
    case port_event::failed:
        fail_netdevice(dev, "the driver could not repair the device after an error");
        break;
    }
}

void net_core::reopen_for_queues(net_device &dev)
{
    try {
        reopen(dev);
        if (on_reopen) {
            on_reopen(dev, "its device has " + std::to_string(dev.driver->info().max_rx_queues) + " rx queues now");
        }
    } catch (const std::exception &e) {
        abandon(dev, std::string("the device has other queues, and does not open again: ") + e.what());
    }
}

void net_core::fail_netdevice(net_device &dev, const std::string &why) noexcept
{
    if (!dev.open) {
        return;
    }
    dev.failure = why.empty() ? "failed" : why;
    shut(dev);
    forget_driver(dev);
}

/// Records why a closed device stays closed, and lets go of it.
void net_core::abandon(net_device &dev, const std::string &why) noexcept
{
    dev.failure = why;
    dev.carrier.store(false, std::memory_order_relaxed);
    forget_driver(dev);
    announce(dev);
}

/// Destroys the port, because a kernel that removes the device waits for that, and starts to look for the device.
void net_core::forget_driver(net_device &dev) noexcept
{
    dev.driver.reset();
    dev.cause = dev.failure;
    if (dev.options.reprobe) {
        dev.return_wait = RETURN_LOOK;
        dev.return_look_at = ktime_get() + RETURN_LOOK;
        arm_timer();
    }
}

void net_core::reset_device(net_device &dev)
{
    dev.failure = "the device is being reset";
    shut(dev);
    try {
        dev.driver->reset();
        dev_open(dev);
    } catch (const std::exception &e) {
        return abandon(dev, std::string("a reset did not help: ") + e.what());
    }
    dev.failure.clear();
    dev_start(dev);
}

void net_core::suspend(net_device &dev)
{
    if (dev.recovering) {
        return;
    }
    dev.recovering = true;
    dev.failure = "the driver is repairing the device after an error";
    dev.link_look_at = KTIME_MAX;
    dev.running.store(false, std::memory_order_relaxed);
    dev.carrier.store(false, std::memory_order_relaxed);
    announce(dev);
    stop_traffic(dev);
}

void net_core::resume(net_device &dev)
{
    if (!dev.recovering) {
        return;
    }
    dev.recovering = false;
    dev.failure.clear();
    dev_start(dev);
}

void net_core::look_for_failed(ktime_t now)
{
    for (net_device *dev : devices()) {
        if (dev->return_look_at <= now) {
            try_return(*dev);
        }
    }
}

void net_core::try_return(net_device &dev)
{
    try {
        dev.driver = dev.options.reprobe();
        dev_open(dev);
    } catch (const device_absent &e) {
        dev.failure = dev.cause + "; " + e.what();
        dev.return_wait = RETURN_LOOK;
    } catch (const std::exception &e) {
        dev.failure = dev.cause + "; it does not come back: " + e.what();
        dev.return_wait = std::min(2 * dev.return_wait, RETURN_LOOK_MAX);
    }
    if (!dev.open) {
        dev.driver.reset();
        dev.return_look_at = ktime_get() + dev.return_wait;
        return;
    }
    dev.return_look_at = KTIME_MAX;
    dev.failure.clear();
    dev_start(dev);
}

} // namespace halfpoll
