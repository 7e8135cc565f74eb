// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/ktime.hpp>

#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>

namespace halfpoll
{

/// The work of the control thread: functions that other threads post, and one timer. Its owner waits for fd(). Control
/// thread, unless a member says otherwise.
class control_loop
{
public:
    /// Throws `error` if the system refuses file descriptors.
    control_loop();
    ~control_loop(); ///< drops the work that is still posted
    control_loop(const control_loop &) = delete;
    control_loop &operator=(const control_loop &) = delete;

    /// An fd that is readable while work is posted or the timer has expired.
    int fd() const noexcept { return epoll_fd_; }
    /// Queues work for run(). Any thread except data CPUs: it takes a lock and allocates. Throws `error` if the control
    /// thread cannot be woken.
    void post(std::function<void()> work);
    /// Runs the work that was posted before the call, in order of posting. Throws `error` if the fds fail, and what the
    /// work throws; the work behind it then waits for the next call, and fd() stays readable.
    void run();
    /// Sets the timer to expire at `expiry` (the time of ktime_get()), or never at KTIME_MAX, in place of the former
    /// expiry.
    void arm(ktime_t expiry) noexcept;

private:
    void close_fds() noexcept;
    bool wake() noexcept;
    std::size_t posted();
    std::function<void()> take_first();

    int epoll_fd_ = -1;          ///< over posted_fd_ and timer_fd_
    int posted_fd_ = -1;         ///< eventfd
    int timer_fd_ = -1;          ///< timerfd
    ktime_t expiry_ = KTIME_MAX; ///< of timer_fd_; KTIME_MAX: it is not armed
    std::mutex mutex_;           ///< guards posted_
    std::deque<std::function<void()>> posted_;
};

} // namespace halfpoll
