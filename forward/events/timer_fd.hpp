// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "epoll_set.hpp"

#include <halfpoll/ktime.hpp>

namespace halfpoll
{

/// A timer that makes an epoll_set readable (timerfd, CLOCK_MONOTONIC). A new timer is not armed.
class timer_fd
{
public:
    /// Throws `error`.
    explicit timer_fd(const epoll_set &events);
    /// Arms it for one expiry, at once if `delay` is not positive. Replaces an earlier arming.
    void arm(ktime_t delay) noexcept;
    /// Arms it for one expiry about `delay` from now, at a whole second of the clock, and returns the time of it
    /// (ktime_get()). Timers that may wait for each other so wake the thread once, as with the kernel's
    /// round_jiffies().
    ktime_t arm_rounded(ktime_t delay) noexcept;
    /// Arms it for an expiry in each `period` of whole seconds, at a whole second of the clock.
    void arm_every(ktime_t period) noexcept;
    void disarm() noexcept;
    /// True if it has expired since the last call.
    bool take_expiry() noexcept;

private:
    owned_fd fd_;
};

} // namespace halfpoll
