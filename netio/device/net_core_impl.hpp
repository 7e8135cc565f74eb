// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "control_loop.hpp"
#include "cpu_rings.hpp"
#include "data_cpus.hpp"
#include "dev_change.hpp"
#include "dev_event.hpp"
#include "dev_failure.hpp"
#include "dev_open.hpp"
#include "dev_replace.hpp"
#include "dev_return.hpp"
#include "dev_start.hpp"
#include "link_watch.hpp"
#include "look_timer.hpp"
#include "net_hotplug.hpp"
#include "netdev_notifier.hpp"
#include "queue_placement.hpp"

#include <halfpoll/net_core.hpp>

#include <optional>
#include <set>

namespace halfpoll
{

/// The parts of a net_core. Each refers to parts above it. `on_event` leads back down: drivers report events.
struct net_core::impl {
    impl(net_core &core, unsigned foreign_threads);

    data_cpus cpus;
    const device_table &devices;
    control_loop control;
    cpu_rings rings;
    netdev_notifier notifier;
    look_timer timer{control, devices};
    queue_placement placement{cpus};
    std::set<box_address> passing_addresses; ///< net_core::set_pass_address()

    // A device's way into service and out of it.
    dev_opener::event_handler on_event = [this](net_device &dev, port_event event) { events.handle(dev, event); };
    dev_opener opener;
    dev_failure failure{opener, timer, notifier};
    link_watch links{cpus, devices, timer, notifier, failure};
    dev_starter starter{opener, links, notifier};

    // What changes devices: a caller, a driver, time, a CPU.
    dev_changer changer{opener, starter, failure};
    dev_replacer replacer{opener, starter, changer, failure, timer};
    dev_events events{opener, starter, links, failure, notifier};
    dev_return returns{devices, opener, starter};
    std::optional<net_hotplug> hotplug; ///< ends before the devices are closed
};

} // namespace halfpoll
