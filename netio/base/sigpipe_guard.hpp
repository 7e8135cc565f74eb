// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <csignal>
#include <ctime>

namespace halfpoll
{

/// Blocks SIGPIPE for the calling thread: vhost-user drivers write to sockets whose peer may be gone. Threads created
/// meanwhile inherit the mask. The destructor discards a SIGPIPE that was raised meanwhile, and restores the mask.
class sigpipe_guard
{
public:
    sigpipe_guard() noexcept
    {
        sigemptyset(&pipe_);
        sigaddset(&pipe_, SIGPIPE);
        sigset_t pending;
        sigpending(&pending);
        was_pending_ = sigismember(&pending, SIGPIPE) == 1;
        pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
    }
    ~sigpipe_guard()
    {
        const timespec now{};
        if (!was_pending_) {
            sigtimedwait(&pipe_, nullptr, &now);
        }
        pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    }
    sigpipe_guard(const sigpipe_guard &) = delete;
    sigpipe_guard &operator=(const sigpipe_guard &) = delete;

private:
    sigset_t pipe_, before_;
    bool was_pending_;
};

/// Blocks SIGPIPE for the calling thread for good; for threads that belong to no application.
inline void block_sigpipe() noexcept
{
    sigset_t pipe;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, nullptr);
}

} // namespace halfpoll
