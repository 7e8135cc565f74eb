// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <atomic>
#include <cstdint>
#include <linux/futex.h>

namespace halfpoll
{

/// The kernel's id of the calling thread. Any thread; a system call the first time only.
std::uint32_t current_tid() noexcept;

/// A lock that lends its holder the priority of whoever waits for it (the kernel's rt_mutex, through a PI futex). It
/// never spins: the threads that share one are pinned to one CPU, so contention means that the holder was preempted.
/// Not recursive. Free: one compare-exchange each way, no system call. BasicLockable.
class pi_lock
{
public:
    pi_lock() = default;
    pi_lock(const pi_lock &) = delete;
    pi_lock &operator=(const pi_lock &) = delete;

    /// Throws `error` if the system has no PI futexes. Control thread, at start-up.
    static void check_available();

    void lock() noexcept
    {
        std::uint32_t free = 0;
        // acquire; pairs with the release in unlock().
        if (!word_.compare_exchange_strong(free, current_tid(), std::memory_order_acquire, std::memory_order_relaxed)) {
            lock_contended();
        }
    }
    /// By the thread that holds it.
    void unlock() noexcept
    {
        std::uint32_t mine = current_tid();
        // release; pairs with the acquire in lock(). Fails when the kernel has marked waiters.
        if (!word_.compare_exchange_strong(mine, 0, std::memory_order_release, std::memory_order_relaxed)) {
            unlock_contended();
        }
    }
    /// By the calling thread.
    bool held() const noexcept { return (word_.load(std::memory_order_relaxed) & FUTEX_TID_MASK) == current_tid(); }

private:
    void lock_contended() noexcept;
    void unlock_contended() noexcept;

    std::atomic<std::uint32_t> word_{0}; ///< 0: free; else the holder's thread id, and FUTEX_WAITERS if others wait
};

} // namespace halfpoll
