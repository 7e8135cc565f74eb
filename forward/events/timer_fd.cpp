// SPDX-License-Identifier: BSD-3-Clause
#include "timer_fd.hpp"

#include <algorithm>
#include <cstdint>
#include <sys/timerfd.h>
#include <unistd.h>

namespace halfpoll
{

namespace
{

timespec to_timespec(ktime_t ns) { return {.tv_sec = ns / NSEC_PER_SEC, .tv_nsec = ns % NSEC_PER_SEC}; }

void set(int fd, ktime_t first, ktime_t interval, int flags = 0)
{
    const itimerspec when{.it_interval = to_timespec(interval), .it_value = to_timespec(first)};
    timerfd_settime(fd, flags, &when, nullptr);
}

/// The whole second that is nearest to the end of a delay, but in the future.
ktime_t round_to_second(ktime_t delay)
{
    const ktime_t now = ktime_get();
    return std::max((now + delay + NSEC_PER_SEC / 2) / NSEC_PER_SEC, now / NSEC_PER_SEC + 1) * NSEC_PER_SEC;
}

} // namespace

timer_fd::timer_fd(const epoll_set &events) : fd_(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC))
{
    events.watch(fd_.get());
}

void timer_fd::arm(ktime_t delay) noexcept { set(fd_.get(), std::max<ktime_t>(delay, 1), 0); }

ktime_t timer_fd::arm_rounded(ktime_t delay) noexcept
{
    const ktime_t expiry = round_to_second(delay);
    set(fd_.get(), expiry, 0, TFD_TIMER_ABSTIME);
    return expiry;
}

void timer_fd::arm_every(ktime_t period) noexcept
{
    set(fd_.get(), round_to_second(period), period, TFD_TIMER_ABSTIME);
}

void timer_fd::disarm() noexcept { set(fd_.get(), 0, 0); }

bool timer_fd::take_expiry() noexcept
{
    std::uint64_t expiries;
    return read(fd_.get(), &expiries, sizeof expiries) > 0;
}

} // namespace halfpoll
