// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "control_loop.hpp"

#include <halfpoll/device_table.hpp>

#include <algorithm>

namespace halfpoll
{

/// The timer of the control loop, as the devices need it. Control thread.
class look_timer
{
public:
    look_timer(control_loop &loop, const device_table &devices) noexcept : loop_(loop), devices_(devices) {}
    /// Arms the timer for the next time at which a link is polled, a device is looked for or flows are processed. To be
    /// called after such a time has changed.
    void arm() const noexcept
    {
        ktime_t next = KTIME_MAX;
        devices_.for_each([&](const net_device &dev) {
            next = std::min({next, dev.link_look_at, dev.return_look_at, dev.arfs_look_at});
        });
        loop_.arm(next);
    }

private:
    control_loop &loop_;
    const device_table &devices_;
};

} // namespace halfpoll
