// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "control_loop.hpp"
#include "netdev_notifier.hpp"
#include "queue_placement.hpp"

#include <functional>
#include <set>

namespace halfpoll
{

/// Opens devices and attaches their queues, and the reverse. Starting traffic is not its part (dev_start.hpp). Control
/// thread.
class dev_opener
{
public:
    /// Called on the control thread for each event that the driver of an open device reports.
    using event_handler = std::function<void(net_device &, port_event)>;

    /// The arguments outlive the object. `pool` supplies receive buffers.
    dev_opener(const data_cpus &cpus, rte_mempool *pool, redirect_state &redirect, control_loop &loop,
               const queue_placement &placement, const std::set<box_address> &passing_addresses,
               const netdev_notifier &notifier, const event_handler &on_event) noexcept
        : cpus_(cpus), pool_(pool), redirect_(redirect), loop_(loop), placement_(placement),
          passing_addresses_(passing_addresses), notifier_(notifier), on_event_(on_event)
    {
    }
    /// See net_core::check_options().
    void check_options(const port &driver, const net_device_options &options) const;
    /// Opens a driver with the options and, unless `mac` is zero, with that address; afterwards `mac` is the device's
    /// address. `unfiltered`: promiscuous in any case. Returns the number of tx queues. Throws `error`. The caller
    /// closes the driver, also after a throw.
    unsigned open_driver(port &driver, const net_device_options &options, bool unfiltered, rte_ether_addr &mac) const;
    /// Attaches the queues of an open driver, disabled, and subscribes to the driver's events. Throws `error`; then
    /// parts may be attached, and the caller calls stop_traffic() and close().
    void attach(net_device &dev, unsigned tx_queues);
    /// Opens the device's driver and attaches it; no traffic yet. Throws `error`; then nothing is open.
    void open(net_device &dev);
    /// Stops reception and transmission. When it returns, no data CPU is inside the driver.
    void stop_traffic(net_device &dev) noexcept;
    /// Closes the device after stop_traffic().
    void close(net_device &dev) noexcept;
    /// Tells the listeners that the device goes down, stops its traffic and closes it.
    void shut(net_device &dev) noexcept;

private:
    void watch_driver(net_device &dev);

    const data_cpus &cpus_;
    rte_mempool *const pool_;
    redirect_state &redirect_;
    control_loop &loop_;
    const queue_placement &placement_;
    const std::set<box_address> &passing_addresses_;
    const netdev_notifier &notifier_;
    const event_handler &on_event_;
};

} // namespace halfpoll
