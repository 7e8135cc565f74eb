// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/error.hpp>

#include <sched.h>

#include <cerrno>
#include <string>
#include <thread>

namespace halfpoll
{

/// Changes the calling thread from SCHED_FIFO or SCHED_RR to SCHED_OTHER, and back in the destructor. While DPDK
/// creates a control thread, it checks repeatedly, with sleeps of a microsecond, whether that thread runs; a real-time
/// thread on the same CPU would not let it run. Threads created meanwhile inherit SCHED_OTHER. Does nothing if the
/// thread has no real-time policy.
class ordinary_policy
{
public:
    /// `what` begins the message of the exception. Throws `error`, with nothing changed, if the thread could not get
    /// its policy back.
    explicit ordinary_policy(const std::string &what) : policy_(sched_getscheduler(0))
    {
        sched_getparam(0, &param_);
        if (!real_time()) {
            return;
        }
        int err = 0;
        std::thread([&] { err = lower() == 0 && restore() == 0 ? 0 : errno; }).join(); // tried on another thread
        if (err == 0 && lower() != 0) {
            err = errno;
        }
        if (err != 0) {
            throw_errno(err, what + ": the calling thread has real-time priority " +
                                 std::to_string(param_.sched_priority) +
                                 ", which it has to give up meanwhile and could not get back (give it CAP_SYS_NICE; "
                                 "ulimit -r; systemd: LimitRTPRIO=)");
        }
    }
    ~ordinary_policy()
    {
        if (real_time()) {
            restore();
        }
    }
    ordinary_policy(const ordinary_policy &) = delete;
    ordinary_policy &operator=(const ordinary_policy &) = delete;

    /// True if threads that the calling thread had created would be real-time threads too.
    bool inherited() const noexcept { return real_time() && (policy_ & SCHED_RESET_ON_FORK) == 0; }
    /// Gives the calling thread the saved policy. Returns 0, or -1 with errno (EPERM without CAP_SYS_NICE or
    /// RLIMIT_RTPRIO).
    int restore() const noexcept { return sched_setscheduler(0, policy_, &param_); }

private:
    bool real_time() const noexcept
    {
        const int policy = policy_ & ~SCHED_RESET_ON_FORK;
        return policy == SCHED_FIFO || policy == SCHED_RR;
    }
    int lower() const noexcept
    {
        const sched_param none{};
        return sched_setscheduler(0, SCHED_OTHER | (policy_ & SCHED_RESET_ON_FORK), &none);
    }

    int policy_;
    sched_param param_{};
};

} // namespace halfpoll
