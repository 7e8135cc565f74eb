// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/port.hpp>

#include <rte_ethdev.h>

#include <cstdint>
#include <functional>
#include <string>

namespace halfpoll
{

/// What DPDK reports about one port and its device: link, removal, reset, recovery. Control thread.
///
/// A device on vfio-pci is taken away in order: the kernel asks, EAL reports it here, and the kernel waits until the
/// device is let go. No SIGBUS handler is needed for that, and rte_dev_hotplug_handle_enable() installs none.
class ethdev_events
{
public:
    /// `notify` runs on EAL's threads. Throws `error`.
    ethdev_events(std::uint16_t port_id, const rte_device *device, std::function<void(port_event)> notify);
    /// No notification runs or comes after it returns.
    ~ethdev_events();
    ethdev_events(const ethdev_events &) = delete;
    ethdev_events &operator=(const ethdev_events &) = delete;

private:
    void listen();
    void listen_no_more() noexcept;
    static int on_port_event(std::uint16_t id, rte_eth_event_type type, void *self, void *ret) noexcept;

    std::uint16_t port_id_;
    std::string device_;
    std::function<void(port_event)> notify_;
};

} // namespace halfpoll
