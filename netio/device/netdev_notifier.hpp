// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/device_table.hpp>

#include <functional>
#include <string>

namespace halfpoll
{

/// Calls the listeners of a net_core. Control thread.
class netdev_notifier
{
public:
    using change_listener = std::function<void(net_device &)>;
    using reopen_listener = std::function<void(net_device &, const std::string &)>;

    /// The arguments outlive the object. The listeners may be empty, and may be replaced.
    netdev_notifier(const device_table &devices, const change_listener &on_change,
                    const reopen_listener &on_reopen) noexcept
        : devices_(devices), on_change_(on_change), on_reopen_(on_reopen)
    {
    }
    /// The device's carrier, MTU or failure has changed. Listeners learn nothing of a device that is not in the table
    /// yet.
    void changed(net_device &dev) const noexcept
    {
        if (on_change_ && devices_.get(dev.ifindex) == &dev) {
            on_change_(dev);
        }
    }
    /// The device was closed and opened, not because a caller asked for it.
    void reopened(net_device &dev, const std::string &why) const
    {
        if (on_reopen_) {
            on_reopen_(dev, why);
        }
    }

private:
    const device_table &devices_;
    const change_listener &on_change_;
    const reopen_listener &on_reopen_;
};

} // namespace halfpoll
