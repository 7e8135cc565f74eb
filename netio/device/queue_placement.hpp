// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "data_cpus.hpp"
#include "placement.hpp"

#include <vector>

namespace halfpoll
{

/// Gives the queues of devices to the CPUs that placement.hpp chooses. Control thread.
class queue_placement
{
public:
    explicit queue_placement(const data_cpus &cpus) noexcept : cpus_(cpus) {}
    /// The number of tx queues that are of use to a device.
    unsigned useful_tx_queues() const;
    /// Chooses CPUs for a device that is being opened with `dev.tx_queues`, and stores the tx routes. Returns the home
    /// of each rx queue.
    std::vector<net_cpu *> choose(net_device &dev) const;
    /// Makes CPUs the owners of tx queues that they are by the tx routes, if they have none yet.
    void give_tx_queues(net_device &dev) const;
    /// Gives the queues of an open device the homes and owners that suit the CPUs which are active now. No packet is
    /// under way.
    void place(net_device &dev) const;

private:
    struct plan {
        std::vector<unsigned> homes;    ///< by rx queue
        std::vector<tx_choice> choices; ///< by runtime CPU
    };
    placement_cpus present() const;
    plan plan_for(const net_device &dev) const;
    tx_port *driver_for(net_device &dev, const net_cpu &cpu, unsigned queue) const;
    void give_tx_queue(net_device &dev, net_cpu &cpu) const;

    const data_cpus &cpus_;
};

} // namespace halfpoll
