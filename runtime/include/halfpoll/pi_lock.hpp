// SPDX-License-Identifier: BSD-3-Clause
#pragma once

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

/// What locks know of the calling thread.
struct lock_self {
    std::uint32_t tid = 0; ///< the kernel's id of it; 0: not looked up yet
    /// Logical CPU that it runs on, as the kernel keeps it up to date (rseq(2)), for a thread that a cpu_pin holds
    /// there; of others: -1.
    const volatile std::int32_t *cpu = &NO_CPU;
    static constexpr std::int32_t NO_CPU = -1;
};
extern constinit thread_local lock_self this_lock_self [[gnu::tls_model("initial-exec")]];

/// Looks it up: a system call.
std::uint32_t current_tid_slow() noexcept;

/// The kernel's id of the calling thread. Any thread; a system call the first time only.
inline std::uint32_t current_tid() noexcept
{
    const std::uint32_t tid = this_lock_self.tid;
    return tid != 0 ? tid : current_tid_slow();
}

/// A lock that lends its holder the priority of whoever waits for it (the kernel's rt_mutex, through a PI futex). It
/// never spins: the threads that share one are pinned to one CPU, so contention means that the holder was preempted.
/// Not recursive. Free: one compare-exchange each way, no system call. BasicLockable.
class pi_lock
{
public:
    /// `name`: a static string for traces; null: what happens to it is not traced.
    explicit pi_lock(const char *name) noexcept : name_(name) {}
    pi_lock(const pi_lock &) = delete;
    pi_lock &operator=(const pi_lock &) = delete;

    /// Throws `error` if the system has no PI futexes. Control thread, at start-up.
    static void check_available();

    void lock() noexcept { lock(current_tid()); }
    /// By the thread that holds it.
    void unlock() noexcept { unlock(current_tid()); }
    void lock(std::uint32_t tid) noexcept ///< the same for who has looked up current_tid() already
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
    /// The same where all who ever touch the lock run on one CPU, now: an instruction is not preempted half-way, so it
    /// need not lock the bus (the kernel's this_cpu_cmpxchg()).
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
    /// By the calling thread.
    bool held() const noexcept { return (word_.load(std::memory_order_relaxed) & FUTEX_TID_MASK) == current_tid(); }

private:
    /// True if the word was `from`, and is `to` now.
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
    std::atomic<std::uint32_t> word_{0}; ///< 0: free; else the holder's thread id, and FUTEX_WAITERS if others wait
};

} // namespace halfpoll
