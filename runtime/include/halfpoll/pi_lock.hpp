// SPDX-License-Identifier: BSD-3-Clause
//
// Not part of the API: local_lock.hpp and softnet_data.hpp need it. The locks for embedders are in local_lock.hpp.
#pragma once

#include <halfpoll/current_tid.hpp>

#include <atomic>
#include <cstdint>
#include <linux/futex.h>

#if defined(__SANITIZE_THREAD__)
#define HALFPOLL_THREAD_SANITIZER
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HALFPOLL_THREAD_SANITIZER
#endif
#endif

namespace halfpoll
{

/// A lock that lends its holder the priority of the most urgent waiter (the kernel's rt_mutex, through a PI futex). A
/// waiter sleeps and never spins: the threads that share one are pinned to one CPU, so contention means that the holder
/// was preempted. Uncontended it costs one compare-exchange to take and one to release, and no system call. Not
/// recursive: a second lock() by the holder aborts the program, as does an unlock() by another thread. BasicLockable.
class pi_lock
{
public:
    /// `name` is a static string for traces; null: contention is not traced.
    explicit pi_lock(const char *name) noexcept : name_(name) {}
    pi_lock(const pi_lock &) = delete;
    pi_lock &operator=(const pi_lock &) = delete;

    /// Throws `error` if the kernel or a sandbox refuses PI futexes. Control thread, at start-up.
    static void check_available();

    void lock() noexcept { lock(current_tid()); }
    /// Called by the holder.
    void unlock() noexcept { unlock(current_tid()); }
    void lock(std::uint32_t tid) noexcept ///< `tid` is current_tid(), for a caller that has it already
    {
        std::uint32_t free = 0;
        // acquire; pairs with the release in unlock().
        if (!word_.compare_exchange_strong(free, tid, std::memory_order_acquire, std::memory_order_relaxed))
            [[unlikely]] {
            lock_contended();
        }
    }
    void unlock(std::uint32_t tid) noexcept
    {
        // release; pairs with the acquire in lock(). Fails when the kernel has marked waiters.
        if (!word_.compare_exchange_strong(tid, 0, std::memory_order_release, std::memory_order_relaxed)) [[unlikely]] {
            unlock_contended();
        }
    }
    /// lock() for a lock that only threads pinned to the caller's CPU use. On x86 its compare-exchange has no `lock`
    /// prefix, since no instruction is preempted half-way (the kernel's this_cpu_cmpxchg()).
    void lock_on_cpu(std::uint32_t tid) noexcept
    {
        if (!exchange_on_cpu(0, tid)) [[unlikely]] {
            lock_contended();
        }
    }
    void unlock_on_cpu(std::uint32_t tid) noexcept
    {
        if (!exchange_on_cpu(tid, 0)) [[unlikely]] {
            unlock_contended();
        }
    }
    /// True if the calling thread holds it.
    bool held() const noexcept { return (word_.load(std::memory_order_relaxed) & FUTEX_TID_MASK) == current_tid(); }

private:
    /// Sets the word to `to` if it is `from`. True if it was.
    bool exchange_on_cpu(std::uint32_t from, std::uint32_t to) noexcept
    {
#if defined(__x86_64__) && !defined(HALFPOLL_THREAD_SANITIZER)
        static_assert(sizeof word_ == sizeof from);
        bool done;
        asm volatile("cmpxchgl %[to], %[word]"
                     : [word] "+m"(word_), "+a"(from), "=@ccz"(done)
                     : [to] "r"(to)
                     : "memory");
        return done;
#else
        // acq_rel; pairs with itself.
        return word_.compare_exchange_strong(from, to, std::memory_order_acq_rel, std::memory_order_relaxed);
#endif
    }
    int futex_lock() noexcept;
    void lock_contended() noexcept;
    void unlock_contended() noexcept;

    const char *const name_;
    std::atomic<std::uint32_t> word_{0}; ///< 0: free; else the holder's thread id, with FUTEX_WAITERS if others wait
};

} // namespace halfpoll
