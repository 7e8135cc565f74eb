// SPDX-License-Identifier: BSD-3-Clause
#include "dev_event.hpp"

namespace halfpoll
{

void dev_events::handle(net_device &dev, port_event event)
{
    switch (event) {
    case port_event::link:
        if (!dev.recovering) {
            links_.refresh(dev, true);
        }
        break;
    case port_event::queues:
        reopen_for_queues(dev);
        break;
    case port_event::removed:
        failure_.fail(dev, dev.device + " was removed");
        break;
    case port_event::reset:
        reset(dev);
        break;
    case port_event::recovering:
        suspend(dev);
        break;
    case port_event::recovered:
        resume(dev);
        break;
    case port_event::failed:
        failure_.fail(dev, "the driver could not repair the device after an error");
        break;
    }
}

void dev_events::reopen_for_queues(net_device &dev)
{
    try {
        starter_.reopen(dev);
        if (dev.open) { // else its link could not be read
            const unsigned queues = dev.driver->info().max_rx_queues;
            notifier_.reopened(dev, "its device has " + std::to_string(queues) + " rx queues now");
        }
    } catch (const std::exception &e) {
        failure_.abandon(dev, std::string("the device has other queues, and does not open again: ") + e.what());
    }
}

void dev_events::reset(net_device &dev)
{
    dev.failure = "the device is being reset";
    opener_.shut(dev);
    try {
        dev.driver->reset();
        opener_.open(dev);
    } catch (const std::exception &e) {
        return failure_.abandon(dev, std::string("a reset did not help: ") + e.what());
    }
    dev.failure.clear();
    starter_.start(dev);
}

void dev_events::suspend(net_device &dev)
{
    if (dev.recovering) {
        return;
    }
    dev.recovering = true;
    dev.failure = "the driver is repairing the device after an error";
    dev.link_look_at = KTIME_MAX;
    dev.running.store(false, std::memory_order_relaxed);
    dev.carrier.store(false, std::memory_order_relaxed);
    notifier_.changed(dev);
    opener_.stop_traffic(dev);
}

void dev_events::resume(net_device &dev)
{
    if (!dev.recovering) {
        return;
    }
    dev.recovering = false;
    dev.failure.clear();
    starter_.start(dev);
}

} // namespace halfpoll
