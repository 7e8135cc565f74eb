// SPDX-License-Identifier: BSD-3-Clause
#include <halfpoll/error.hpp>
#include <halfpoll/pi_lock.hpp>

#include "runtime/trace/trace_emit.hpp"

#include <cerrno>
#include <cstdlib>
#include <sys/syscall.h>
#include <unistd.h>

namespace halfpoll
{

namespace
{

/// A futex operation without timeout. Returns 0 or a positive errno (futex(2)).
int futex(std::atomic<std::uint32_t> &word, int op) noexcept
{
    return syscall(SYS_futex, &word, op | FUTEX_PRIVATE_FLAG, 0, nullptr, nullptr, 0) < 0 ? errno : 0;
}

} // namespace

void pi_lock::check_available()
{
    std::atomic<std::uint32_t> word{current_tid()};
    if (const int rc = futex(word, FUTEX_UNLOCK_PI)) {
        throw_errno(
            rc,
            "exclusion modes big and nested need priority-inheriting futexes, which this kernel or sandbox lacks (use "
            "mode exclusive)");
    }
}

/// Waits in the kernel for the lock. Returns 0 or a positive errno: EDEADLK if the caller holds it already, ESRCH if
/// the holder has ended, ENOMEM.
int pi_lock::futex_lock() noexcept
{
    int rc;
    do {
        rc = futex(word_, FUTEX_LOCK_PI);
    } while (rc == EINTR || rc == EAGAIN);
    return rc;
}

void pi_lock::lock_contended() noexcept
{
    const bool traced = trace_enabled() && name_;
    if (traced) {
        trace_contention_begin(this, name_, word_.load(std::memory_order_relaxed) & FUTEX_TID_MASK);
    }
    const int rc = futex_lock();
    if (traced) {
        trace_contention_end(this, name_);
    }
    if (rc != 0) {
        std::abort(); // the state that the lock protects cannot be trusted
    }
    // The kernel has handed the lock over. Pairs with the release in unlock_contended().
    word_.load(std::memory_order_acquire);
}

void pi_lock::unlock_contended() noexcept
{
    word_.fetch_or(FUTEX_WAITERS, std::memory_order_release); // pairs with the acquires in lock() and lock_contended()
    if (futex(word_, FUTEX_UNLOCK_PI) != 0) {
        std::abort(); // the caller is not the holder
    }
}

} // namespace halfpoll
