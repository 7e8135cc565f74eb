// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "control_loop.hpp"
#include "cpu_rings.hpp"
#include "data_cpus.hpp"
#include "net_hotplug.hpp"
#include "queue_placement.hpp"

#include <halfpoll/net_core.hpp>

#include <optional>

namespace halfpoll
{

/// The parts of a net_core. Each refers to those above it.
struct net_core::impl {
    impl(net_core &core, unsigned foreign_threads)
        : cpus(core.rt_, core.cpus_), rings(cpus, foreign_threads, core.backlog_room_)
    {
        hotplug.emplace(cpus, core.table_, placement, core.foreign_mutexes_, core.elsewhere_in_flight);
    }

    data_cpus cpus;
    control_loop control;
    cpu_rings rings;
    queue_placement placement{cpus};
    std::optional<net_hotplug> hotplug; ///< ends before the others do
};

} // namespace halfpoll
