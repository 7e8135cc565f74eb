// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/bh_work.hpp>
#include <halfpoll/call_single.hpp>
#include <halfpoll/hrtimer.hpp>
#include <halfpoll/irq_work.hpp>
#include <halfpoll/napi.hpp>
#include <halfpoll/pi_lock.hpp>
#include <halfpoll/rcu.hpp>
#include <halfpoll/softirq.hpp>
#include <halfpoll/tasklet.hpp>
#include <halfpoll/trace.hpp>

#include <array>
#include <atomic>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace halfpoll
{

class runtime;
class smpboot_thread;

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

/// The irq_work of one CPU. Any thread pushes (release CAS; pairs with the acquire exchange of who takes the list).
struct irq_work_cpu {
    std::atomic<irq_work *> raised{nullptr}; ///< for the CPU's own thread, interrupted for it
    std::atomic<irq_work *> lazy{nullptr};   ///< LAZY; with `irq_work/N`, everything that is not HARD
    std::atomic<bool> interrupting{false};   ///< `call` is under way
    call_single_data call;
    irq_work wake;                    ///< HARD: wakes `irq_work/N`
    hrtimer tick;                     ///< for LAZY. In a section
    smpboot_thread *thread = nullptr; ///< `irq_work/N`, or null. Constant once started
};

/// Raises a vector for BH work items that were queued elsewhere.
struct bh_work_kick {
    irq_work work;
    softnet_data *owner = nullptr; ///< whose items
};

/// The counters that /proc/net/softnet_stat and /proc/softirqs show. Home CPU writes, anyone reads, relaxed.
struct softnet_stats {
    std::atomic<std::uint64_t> processed{0};
    std::atomic<std::uint64_t> time_squeeze{0};
    std::atomic<std::uint64_t> received_rps{0};     ///< times another CPU had it poll its backlog
    std::atomic<std::uint64_t> flow_limit_count{0}; ///< packets that this CPU did not enqueue because of a flow limit
    std::atomic<std::uint64_t> wakeups{0};          ///< returns from blocking
    std::atomic<std::uint64_t> sleeps{0};           ///< times it blocked
    std::atomic<std::uint64_t> doorbells{0};        ///< doorbells received
    std::atomic<std::uint64_t> ksoftirqd{0};        ///< dispatches that ended at a limit
    std::atomic<std::uint64_t> busy{0};             ///< ns in polls that found packets
    /// Since when there has always been an instance that has more than it was polled for; 0: there is none. No packet
    /// has been waiting for longer.
    std::atomic<ktime_t> behind_since{0};
    std::array<std::atomic<std::uint64_t>, NR_SOFTIRQS> softirqs{};
};

/// Adds to a counter that has one writer: a plain load and store, readable from other threads.
inline void stat_add(std::atomic<std::uint64_t> &counter, std::uint64_t n = 1) noexcept
{
    counter.store(counter.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
}

/// The bottom half of one runtime CPU. Only its bottom-half threads touch it, in a bh_section and through local_lock,
/// but for the members in the group "from other CPUs".
struct alignas(64) softnet_data {
    // --- hot: every dispatch ---
    std::uint32_t softirq_pending = 0; ///< bit per vector
    bool in_net_rx_action = false;     ///< true => running, or NET_RX pending
    bool serving_softirq = false;
    bool rps_ipi_waiting = false; ///< `send_rps_ipi` is to be called at the end of this turn or section
    unsigned cpu = 0;             ///< runtime CPU number, from 0
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
    /// Softirqs raised by other threads, bit per vector, and the call that raises them here. acq_rel; the one who sets
    /// the first bit issues the call, which pairs by its exchange.
    std::atomic<std::uint32_t> remote_softirqs{0};
    call_single_data remote_softirqs_call;

    // --- counters ---
    alignas(64) softnet_stats stats;

    // --- exclusion, and the parts of the bottom half that few packets meet ---
    alignas(64) pi_lock *lock = nullptr; ///< null in mode `exclusive`. Constant once started
    unsigned bh_disabled = 0;            ///< nesting of local_bh_disable(), of the thread in the section
    bool in_turn = false;                ///< mode `big`: the section is a turn of the CPU's own thread
    bool hardirq = false;                ///< runs the raised irq_work list
    bool ksoftirqd_active = false;       ///< `ksoftirqd/N` serves what is pending: the CPU's own thread may block
    ktime_t wait_until = KTIME_MAX;      ///< mode `big`: until when the CPU's own thread blocks
    napi_struct *backlog = nullptr;      ///< packets from other CPUs (napi_backlog_add()); null: there is no netio
    /// Looks once more whether CPUs that were given packets look at them, and kicks those that do not. netio's.
    void (*send_rps_ipi)(softnet_data &) noexcept = nullptr;
    smpboot_thread *ksoftirqd = nullptr; ///< null: the CPU's own thread plays it. Constant once started
    irq_work_cpu irq_works;
    tasklet_head tasklet_vec;
    tasklet_head tasklet_hi_vec;
    hrtimer tasklet_retry; ///< mode `nested`: for those that run elsewhere, or are disabled
    bh_work_list bh_works;
    bh_work_list bh_highpri_works;
    bh_work_kick bh_kick; ///< TASKLET
    bh_work_kick bh_highpri_kick;
    rcu_cpu rcu;

    // --- hotplug ---
    /// False: it takes no new work (runtime::cpu_down()). Control thread writes; seq_cst against `attachments`
    /// (Dekker).
    std::atomic<bool> online{true};
    std::atomic<unsigned> attachments{0}; ///< cpu_attachment objects
    softnet_data *adopter = nullptr;  ///< whom its work goes to while it is offline. Written while its thread is held
    std::vector<napi_struct *> napis; ///< attached here. Control thread
    std::vector<smpboot_thread *> further_threads; ///< control thread
};
static_assert(offsetof(softnet_data, sleeping) % 64 == 0 && offsetof(softnet_data, stats) % 64 == 0,
              "what other CPUs touch shares no cache line with the hot group");

/// The CPU in whose section the calling thread is, else null. On the CPU's own thread in mode `exclusive`: always it.
softnet_data *this_softnet_data() noexcept;

/// Bottom halves off for as long as it lives: how a bottom-half thread comes to its CPU's state from outside (see
/// local_bh_disable()).
class bh_section
{
public:
    explicit bh_section(softnet_data &sd) noexcept : sd_(sd)
    {
        local_bh_disable();
        assert(this_softnet_data() == &sd);
    }
    ~bh_section() { local_bh_enable(); }
    bh_section(const bh_section &) = delete;
    bh_section &operator=(const bh_section &) = delete;
    softnet_data *operator->() const noexcept { return &sd_; }
    softnet_data &operator*() const noexcept { return sd_; }

private:
    softnet_data &sd_;
};

/// How code in a section gets at its CPU's state. In `exclusive` (one bottom-half thread) and `big` (the section holds
/// the CPU's lock) it compiles to nothing; debug builds assert the section.
class local_lock
{
public:
    explicit local_lock(softnet_data &sd) noexcept : sd_(sd) { assert(this_softnet_data() == &sd); }
    softnet_data *operator->() const noexcept { return &sd_; }
    softnet_data &operator*() const noexcept { return sd_; }

private:
    softnet_data &sd_;
};

inline void __raise_softirq_irqoff(softnet_data &sd, softirq_vec vec) noexcept
{
    sd.softirq_pending |= 1U << vec;
    if (trace_enabled()) [[unlikely]] {
        trace_softirq_raise(vec);
    }
}

/// Wakes a CPU that sleeps, after the caller published something for it. Any thread; at most one system call, and only
/// if the CPU is asleep. Call once per burst.
void kick_cpu(softnet_data &sd) noexcept;

/// Queues `call` to run on the CPU's thread, newest first, and kicks it. Any thread. The kernel's
/// smp_call_function_single_async().
void call_on_async(softnet_data &sd, call_single_data &call) noexcept;

} // namespace halfpoll
