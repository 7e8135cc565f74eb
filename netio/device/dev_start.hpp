// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "dev_open.hpp"
#include "link_watch.hpp"
#include "netdev_notifier.hpp"

namespace halfpoll
{

/// Starts the traffic of open devices. Control thread.
class dev_starter
{
public:
    dev_starter(dev_opener &opener, link_watch &links, const netdev_notifier &notifier) noexcept
        : opener_(opener), links_(links), notifier_(notifier)
    {
    }
    /// Tells the listeners of the device and starts its traffic. If its link cannot be read, it fails (dev_failure).
    void start(net_device &dev);
    /// As start(), for a device of which the listeners know.
    void start_traffic(net_device &dev);
    /// Closes and opens a device, for settings that a driver takes only while it is stopped. Listeners see no change
    /// except the link's. Throws `error`; then the device is closed.
    void reopen(net_device &dev);

private:
    dev_opener &opener_;
    link_watch &links_;
    const netdev_notifier &notifier_;
};

} // namespace halfpoll
