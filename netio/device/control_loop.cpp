// SPDX-License-Identifier: BSD-3-Clause
#include "control_loop.hpp"

#include <halfpoll/error.hpp>

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <utility>

namespace halfpoll
{
namespace
{

/// Takes the count of an eventfd or timerfd. Returns false if it is zero.
bool take_count(int fd)
{
    std::uint64_t count;
    if (read(fd, &count, sizeof count) >= 0) {
        return true;
    }
    if (errno != EAGAIN) {
        throw_errno(errno, "control loop");
    }
    return false;
}

} // namespace

control_loop::control_loop()
{
    posted_fd_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    timer_fd_ = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    epoll_fd_ = epoll_create1(EPOLL_CLOEXEC);
    for (const int fd : {posted_fd_, timer_fd_}) {
        epoll_event event{.events = EPOLLIN, .data = {.fd = fd}};
        if (epoll_fd_ < 0 || fd < 0 || epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event) != 0) {
            const int why = errno;
            close_fds();
            throw_errno(why, "no fds for the control loop");
        }
    }
}

control_loop::~control_loop() { close_fds(); }

void control_loop::close_fds() noexcept
{
    for (const int fd : {epoll_fd_, timer_fd_, posted_fd_}) {
        if (fd >= 0) {
            close(fd);
        }
    }
}

void control_loop::post(std::function<void()> work)
{
    {
        const std::lock_guard lock(mutex_);
        posted_.push_back(std::move(work));
    }
    if (!wake()) {
        throw_errno(errno, "control loop cannot be woken");
    }
}

bool control_loop::wake() noexcept
{
    const std::uint64_t one = 1;
    return write(posted_fd_, &one, sizeof one) >= 0 || errno == EAGAIN;
}

std::size_t control_loop::posted()
{
    const std::lock_guard lock(mutex_);
    return posted_.size();
}

std::function<void()> control_loop::take_first()
{
    const std::lock_guard lock(mutex_);
    std::function<void()> work = std::move(posted_.front());
    posted_.pop_front();
    return work;
}

void control_loop::run()
{
    take_count(posted_fd_);
    if (take_count(timer_fd_)) {
        expiry_ = KTIME_MAX;
    }
    try {
        for (std::size_t n = posted(); n != 0; --n) { // work that this work posts waits for the next call
            take_first()();
        }
    } catch (...) {
        wake(); // even if no work is left: the timer may have expired, and the caller has not armed it again
        throw;
    }
}

void control_loop::arm(ktime_t expiry) noexcept
{
    if (expiry == expiry_) {
        return;
    }
    expiry_ = expiry;
    itimerspec when{};
    if (expiry != KTIME_MAX) {
        when.it_value = {.tv_sec = expiry / NSEC_PER_SEC, .tv_nsec = expiry % NSEC_PER_SEC};
    }
    timerfd_settime(timer_fd_, TFD_TIMER_ABSTIME, &when, nullptr);
}

} // namespace halfpoll
