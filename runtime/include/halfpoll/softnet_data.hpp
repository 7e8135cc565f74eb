// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/hrtimer.hpp>
#include <halfpoll/napi.hpp>
#include <halfpoll/softirq.hpp>

#include <array>
#include <atomic>
#include <cassert>
#include <cstddef>
#include <cstdint>

namespace halfpoll
{

class runtime;

/// Intrusive FIFO of napi_struct. One thread.
class napi_list
{
public:
    bool empty() const noexcept { return head_ == nullptr; }
    napi_struct *front() const noexcept { return head_; }
    void push_back(napi_struct &n) noexcept
    {
        n.prev = tail_;
        n.next = nullptr;
        (tail_ ? tail_->next : head_) = &n;
        tail_ = &n;
        n.listed = true;
    }
    void remove(napi_struct &n) noexcept
    {
        (n.prev ? n.prev->next : head_) = n.next;
        (n.next ? n.next->prev : tail_) = n.prev;
        n.next = n.prev = nullptr;
        n.listed = false;
    }
    napi_struct *pop_front() noexcept
    {
        napi_struct *n = head_;
        if (n) {
            remove(*n);
        }
        return n;
    }
    /// Appends all of `other`, which becomes empty.
    void splice_back(napi_list &other) noexcept
    {
        if (other.empty()) {
            return;
        }
        other.head_->prev = tail_;
        (tail_ ? tail_->next : head_) = other.head_;
        tail_ = other.tail_;
        other.head_ = other.tail_ = nullptr;
    }

private:
    napi_struct *head_ = nullptr;
    napi_struct *tail_ = nullptr;
};

/// A function that one thread asks another CPU to run (the kernel's call_single_data). Owned by the caller until it
/// ran.
struct call_single_data {
    void (*func)(softnet_data &, void *arg) noexcept = nullptr;
    void *arg = nullptr;
    call_single_data *next = nullptr;
};

/// The counters that /proc/net/softnet_stat and /proc/softirqs show. Home CPU writes, anyone reads, relaxed.
struct softnet_stats {
    std::atomic<std::uint64_t> processed{0};
    std::atomic<std::uint64_t> time_squeeze{0};
    std::atomic<std::uint64_t> wakeups{0};   ///< returns from blocking
    std::atomic<std::uint64_t> sleeps{0};    ///< times it blocked
    std::atomic<std::uint64_t> doorbells{0}; ///< doorbells received
    std::atomic<std::uint64_t> ksoftirqd{0}; ///< dispatches that ended at a limit
    std::array<std::atomic<std::uint64_t>, NR_SOFTIRQS> softirqs{};
};

/// Adds to a counter that has one writer: a plain load and store, readable from other threads.
inline void stat_add(std::atomic<std::uint64_t> &counter, std::uint64_t n = 1) noexcept
{
    counter.store(counter.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
}

/// The bottom half of one runtime CPU. Only its bottom-half thread touches it, through bh_section, but for the members
/// in the group "from other CPUs".
struct alignas(64) softnet_data {
    // --- hot: every dispatch ---
    std::uint32_t softirq_pending = 0; ///< bit per vector
    bool in_net_rx_action = false;     ///< true => running, or NET_RX pending
    bool serving_softirq = false;
    unsigned cpu = 0; ///< runtime CPU number, from 0
    runtime *rt = nullptr;
    napi_list poll_list;
    hrtimer_queue timers;
    wait_engine *engine = nullptr; ///< null: io_uring is not available, every queue spins
    ktime_t now = 0;               ///< the clock as last read: at the start of each loop and after each poll
    /// Spinning instances whose last poll was empty: owned, and back on the poll list at the next turn of the loop, so
    /// that they neither keep NET_RX pending nor hold up timers and events.
    napi_list spin_list;

    // --- from other CPUs ---
    /// Set by the home CPU before its last look at the two lists; a producer that published looks at it. Both sides put
    /// a seq_cst fence between their store and their load (Dekker); pairs with each other in cpu_idle() and kick_cpu().
    alignas(64) std::atomic<std::uint32_t> sleeping{0};
    int doorbell_fd = -1;
    /// Scheduled from other threads. Push: release CAS; pairs with the acquire exchange in take_remote().
    std::atomic<napi_struct *> remote_napi{nullptr};
    /// Calls from other threads. Push: release CAS; pairs with the acquire exchange in take_remote().
    std::atomic<call_single_data *> call_queue{nullptr};

    // --- counters ---
    alignas(64) softnet_stats stats;
};
static_assert(offsetof(softnet_data, sleeping) % 64 == 0 && offsetof(softnet_data, stats) % 64 == 0,
              "what other CPUs touch shares no cache line with the hot group");

/// The CPU whose bottom-half thread this is, else null.
softnet_data *this_softnet_data() noexcept;

/// The only way to a CPU's state. In mode `exclusive` (one bottom-half thread per CPU) it compiles to nothing; debug
/// builds assert the owner. The locking modes put their lock here.
class bh_section
{
public:
    explicit bh_section(softnet_data &sd) noexcept : sd_(sd) { assert(this_softnet_data() == &sd); }
    softnet_data *operator->() const noexcept { return &sd_; }
    softnet_data &operator*() const noexcept { return sd_; }

private:
    softnet_data &sd_;
};

inline void raise_softirq(softnet_data &sd, softirq_vec vec) noexcept { sd.softirq_pending |= 1U << vec; }

/// Wakes a CPU that sleeps, after the caller published something for it. Any thread; at most one system call, and only
/// if the CPU is asleep. Call once per burst.
void kick_cpu(softnet_data &sd) noexcept;

/// Queues `call` to run on the CPU's thread, newest first, and kicks it. Any thread. The kernel's
/// smp_call_function_single_async().
void call_on_async(softnet_data &sd, call_single_data &call) noexcept;

} // namespace halfpoll
