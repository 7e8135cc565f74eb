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

void set(int fd, ktime_t first, ktime_t interval)
{
    const itimerspec when{.it_interval = to_timespec(interval), .it_value = to_timespec(first)};
    timerfd_settime(fd, 0, &when, nullptr);
}

} // namespace

timer_fd::timer_fd(const epoll_set &events) : fd_(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC))
{
    events.watch(fd_.get());
}

void timer_fd::arm(ktime_t delay) noexcept { set(fd_.get(), std::max<ktime_t>(delay, 1), 0); }

void timer_fd::arm_every(ktime_t period) noexcept { set(fd_.get(), period, period); }

void timer_fd::disarm() noexcept { set(fd_.get(), 0, 0); }

bool timer_fd::take_expiry() noexcept
{
    std::uint64_t expiries;
    return read(fd_.get(), &expiries, sizeof expiries) > 0;
}

} // namespace halfpoll
