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
    void arm_every(ktime_t period) noexcept;
    void disarm() noexcept;
    /// True if it has expired since the last call.
    bool take_expiry() noexcept;

private:
    owned_fd fd_;
};

} // namespace halfpoll
