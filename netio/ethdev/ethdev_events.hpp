// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/port.hpp>

#include <rte_ethdev.h>

#include <cstdint>
#include <functional>
#include <string>

namespace halfpoll
{

/// Events of one port and its device that DPDK reports: link, removal, reset, recovery. Control thread.
///
/// The removal of a device on vfio-pci is orderly: the kernel asks for the device, EAL reports that here, and the
/// kernel waits until the port lets the device go. That needs no SIGBUS handler, so rte_dev_hotplug_handle_enable() is
/// not called.
class ethdev_events
{
public:
    /// `notify` runs on EAL's threads and must only post. Throws `error`.
    ethdev_events(std::uint16_t port_id, const rte_device *device, std::function<void(port_event)> notify);
    /// After it returns, no notification runs or comes.
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
