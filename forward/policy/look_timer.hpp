// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "forward/events/timer_fd.hpp"

namespace halfpoll
{

/// Says each second that it is time to look at what the kernel does not report. Control thread only.
class look_timer
{
public:
    /// The first look is due at once. Throws `error`.
    explicit look_timer(const epoll_set &events) : timer_(events) {}
    /// True if a look is due; the next one is then due a second later. To be called in every turn of the control loop:
    /// it asks the clock, so that a control thread that is never idle looks as often. No system call unless it is due.
    bool due() noexcept;
    /// Makes the next look due at once.
    void hasten() noexcept;

private:
    timer_fd timer_;
    ktime_t due_ = 0;
};

} // namespace halfpoll
