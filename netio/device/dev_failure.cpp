// SPDX-License-Identifier: BSD-3-Clause
#include "dev_failure.hpp"

namespace halfpoll
{

void dev_failure::fail(net_device &dev, const std::string &why) noexcept
{
    if (!dev.open) {
        return;
    }
    dev.failure = why.empty() ? "failed" : why;
    opener_.shut(dev);
    forget_driver(dev);
}

void dev_failure::abandon(net_device &dev, const std::string &why) noexcept
{
    dev.failure = why;
    dev.carrier.store(false, std::memory_order_relaxed);
    forget_driver(dev);
    notifier_.changed(dev);
}

/// Destroys the port, because a kernel that removes the device waits for that, and starts to look for the device.
void dev_failure::forget_driver(net_device &dev) noexcept
{
    dev.driver.reset();
    dev.cause = dev.failure;
    if (dev.options.reprobe) {
        dev.return_wait = RETURN_LOOK;
        dev.return_look_at = ktime_get() + RETURN_LOOK;
        timer_.arm();
    }
}

} // namespace halfpoll
