// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/error.hpp>
#include <halfpoll/ktime.hpp>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <random>
#include <sys/timerfd.h>
#include <unistd.h>

/// The interrupt of the urgent device: a timer of the CPU on which it is set. Its random delays span about two and a
/// half dispatches of the long handler, so that it fires at every phase of a dispatch.
class random_timer
{
public:
    random_timer() : fd_(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC))
    {
        if (fd_ < 0) {
            halfpoll::throw_errno(errno, "no timerfd");
        }
    }
    ~random_timer() { close(fd_); }
    random_timer(const random_timer &) = delete;
    random_timer &operator=(const random_timer &) = delete;

    int fd() const noexcept { return fd_; }
    /// Sets the timer. Returns the time at which it will fire, on CLOCK_MONOTONIC (the TSC, read without a system
    /// call).
    halfpoll::ktime_t arm() noexcept
    {
        const halfpoll::ktime_t due = halfpoll::ktime_get() + wait_(random_);
        itimerspec at{};
        at.it_value = {.tv_sec = due / halfpoll::NSEC_PER_SEC, .tv_nsec = due % halfpoll::NSEC_PER_SEC};
        if (timerfd_settime(fd_, TFD_TIMER_ABSTIME, &at, nullptr) != 0) {
            std::abort();
        }
        return due;
    }
    /// Sleeps until it fires.
    void wait() noexcept
    {
        std::uint64_t times;
        while (read(fd_, &times, sizeof times) < 0 && errno == EINTR) {
        }
    }

private:
    const int fd_;
    std::minstd_rand random_{std::random_device{}()};
    std::uniform_int_distribution<halfpoll::ktime_t> wait_{200 * halfpoll::NSEC_PER_USEC, 4 * halfpoll::NSEC_PER_MSEC};
};
