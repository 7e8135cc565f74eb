// SPDX-License-Identifier: BSD-3-Clause
//
// Not part of the API: all floors need it.
#pragma once

#include <halfpoll/error.hpp>

#include <csignal>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

namespace halfpoll
{

/// Starts a std::thread that runs `run`. Throws `error` that names `owner` and the limits to check, if the system
/// refuses.
template <typename F>
std::thread start_thread(const std::string &owner, F &&run)
{
    try {
        return std::thread(std::forward<F>(run));
    } catch (const std::system_error &e) {
        throw_errno(e.code().value(), owner + ": cannot start its thread (is there a limit of threads or memory? "
                                              "ulimit -u, ulimit -v; systemd: TasksMax=, LimitAS=)");
    }
}

/// Blocks all signals for the calling thread during the lifetime of the object. Threads that it starts meanwhile keep
/// them blocked: signals belong to the program.
class signals_blocked
{
public:
    signals_blocked() noexcept
    {
        sigset_t all;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before_);
    }
    ~signals_blocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
    signals_blocked(const signals_blocked &) = delete;
    signals_blocked &operator=(const signals_blocked &) = delete;

private:
    sigset_t before_;
};

} // namespace halfpoll
