// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "dev_open.hpp"
#include "look_timer.hpp"

#include <string>

namespace halfpoll
{

/// From a failure to the first attempt to find the device again, and between attempts while it is absent.
inline constexpr ktime_t RETURN_LOOK = NSEC_PER_SEC;

/// Lets go of devices that failed or vanished. Control thread.
class dev_failure
{
public:
    dev_failure(dev_opener &opener, const look_timer &timer, const netdev_notifier &notifier) noexcept
        : opener_(opener), timer_(timer), notifier_(notifier)
    {
    }
    /// See net_core::fail_netdevice().
    void fail(net_device &dev, const std::string &why) noexcept;
    /// Records why a closed device stays closed, and lets go of it.
    void abandon(net_device &dev, const std::string &why) noexcept;

private:
    void forget_driver(net_device &dev) noexcept;

    dev_opener &opener_;
    const look_timer &timer_;
    const netdev_notifier &notifier_;
};

} // namespace halfpoll
