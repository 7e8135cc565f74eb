// SPDX-License-Identifier: BSD-3-Clause
#include "dev_return.hpp"

#include <algorithm>

namespace halfpoll
{
namespace
{

/// The longest interval between attempts for a device that is present and does not open; the interval doubles up to it.
constexpr ktime_t RETURN_LOOK_MAX = 60 * NSEC_PER_SEC;

} // namespace

void dev_return::look(ktime_t now)
{
    for (net_device *dev : devices_.all()) {
        if (dev->return_look_at <= now) {
            try_return(*dev);
        }
    }
}

void dev_return::try_return(net_device &dev)
{
    try {
        dev.driver = dev.options.reprobe();
        opener_.open(dev);
    } catch (const device_absent &e) {
        dev.failure = dev.cause + "; " + e.what();
        dev.return_wait = RETURN_LOOK;
    } catch (const std::exception &e) {
        dev.failure = dev.cause + "; it does not come back: " + e.what();
        dev.return_wait = std::min(2 * dev.return_wait, RETURN_LOOK_MAX);
    }
    if (!dev.open) {
        dev.driver.reset();
        dev.return_look_at = ktime_get() + dev.return_wait;
        return;
    }
    dev.return_look_at = KTIME_MAX;
    dev.failure.clear();
    starter_.start(dev);
}

} // namespace halfpoll
