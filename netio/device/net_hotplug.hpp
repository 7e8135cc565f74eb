// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "queue_placement.hpp"

#include <functional>
#include <memory>
#include <mutex>
#include <vector>

namespace halfpoll
{

/// Takes CPUs into service for packets when they go online, and out of it when they go offline. Control thread.
class net_hotplug
{
public:
    /// Follows the CPUs of the runtime from now on. `foreign`: a mutex for each foreign thread, which holds it while it
    /// sends. `elsewhere_in_flight`: see net_core. All arguments outlive the object.
    net_hotplug(const data_cpus &cpus, const device_table &devices, const queue_placement &placement,
                const std::vector<std::unique_ptr<std::mutex>> &foreign,
                const std::function<bool()> &elsewhere_in_flight);
    ~net_hotplug();
    net_hotplug(const net_hotplug &) = delete;
    net_hotplug &operator=(const net_hotplug &) = delete;

private:
    class traffic_hold;
    bool in_flight() const;
    void cpu_moves(unsigned cpu, bool active);

    const data_cpus &cpus_;
    const device_table &devices_;
    const queue_placement &placement_;
    const std::vector<std::unique_ptr<std::mutex>> &foreign_;
    const std::function<bool()> &elsewhere_in_flight_;
    const unsigned step_; ///< handle of the runtime's cpuhp_step
};

} // namespace halfpoll
