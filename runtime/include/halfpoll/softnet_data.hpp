// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/call_single.hpp>
#include <halfpoll/hrtimer.hpp>
#include <halfpoll/ktime.hpp>
#include <halfpoll/softirq.hpp>
#include <halfpoll/stat_add.hpp>
#include <halfpoll/trace.hpp>

#include <array>
#include <atomic>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace halfpoll
{

class pi_lock;
class runtime_env;
class smpboot_thread;
class wait_engine;
struct bh_thread;
struct deferred_work;
struct napi_struct;

/// An intrusive FIFO of napi_struct. One thread at a time. The inline functions are the runtime's own
/// (runtime/softirq/poll_list.hpp).
class napi_list
{
public:
    bool empty() const noexcept { return head_ == nullptr; }
    napi_struct *front() const noexcept { return head_; }
    inline void push_back(napi_struct &n) noexcept;
    inline napi_struct *pop_front() noexcept;
    /// Appends all of `other`, which becomes empty.
    inline void splice_back(napi_list &other) noexcept;

private:
    napi_struct *head_ = nullptr;
    napi_struct *tail_ = nullptr;
};

/// The counters that /proc/net/softnet_stat and /proc/softirqs show, for one CPU. Written in the CPU's sections, read
/// by any thread, relaxed.
struct softnet_stats {
    std::atomic<std::uint64_t> processed{0};        ///< packets that polls returned
    std::atomic<std::uint64_t> time_squeeze{0};     ///< NET_RX dispatches that ended at a limit
    std::atomic<std::uint64_t> received_rps{0};     ///< times another CPU scheduled this one's backlog
    std::atomic<std::uint64_t> flow_limit_count{0}; ///< packets that this CPU did not enqueue because of a flow limit
    std::atomic<std::uint64_t> wakeups{0};          ///< returns from blocking
    std::atomic<std::uint64_t> sleeps{0};           ///< times it blocked
    std::atomic<std::uint64_t> doorbells{0};        ///< doorbells received
    std::atomic<std::uint64_t> ksoftirqd{0};        ///< do_softirq() calls that ended at a limit
    std::atomic<std::uint64_t> busy{0};             ///< ns in polls that found packets
    /// The time since which some instance has always had more packets than its last poll took; 0: none has. No packet
    /// has been waiting for longer.
    std::atomic<ktime_t> behind_since{0};
    std::array<std::atomic<std::uint64_t>, NR_SOFTIRQS> softirqs{}; ///< times each vector was served
};

/// The state of one runtime CPU's bottom half. Only its bottom-half threads use it, in a section and through
/// local_lock, except for the group "from other CPUs" and members whose comment names another context.
struct alignas(64) softnet_data {
    // --- hot: every dispatch ---
    std::uint32_t softirq_pending = 0; ///< one bit per vector
    bool in_net_rx_action = false;     ///< NET_RX is running or pending
    bool serving_softirq = false;      ///< a softirq handler is running
    bool backlogs_unchecked = false;   ///< `kick_idle_backlogs` is called at the end of this turn or section
    unsigned cpu = 0;                  ///< runtime CPU number, from 0
    runtime_env *env = nullptr;        ///< the runtime that the CPU belongs to. Constant
    napi_list poll_list;
    hrtimer_queue timers;
    wait_engine *engine = nullptr; ///< null: the CPU cannot block, and every queue spins (runtime::no_wait_reason())
    ktime_t now = 0;               ///< the clock as last read: at the start of each turn and after each poll
    /// Spinning instances whose last poll was empty. They are owned, and return to the poll list in the next turn, so
    /// that they neither keep NET_RX pending nor delay timers and events.
    napi_list spin_list;

    // --- from other CPUs ---
    /// The CPU sets it before it checks the two lists for the last time; a producer checks it after it has published.
    /// Both sides put a seq_cst fence between their store and their load (Dekker); announce_sleep() pairs with
    /// kick_cpu().
    alignas(64) std::atomic<std::uint32_t> sleeping{0};
    int doorbell_fd = -1; ///< eventfd that kick_cpu() writes to
    /// Instances scheduled by other threads. Push: release CAS; pairs with the acquire exchange in take_remote().
    std::atomic<napi_struct *> remote_napi{nullptr};
    /// Calls from other threads. Push: release CAS; pairs with the acquire exchange in take_remote().
    std::atomic<call_single_data *> call_queue{nullptr};
    /// Softirqs raised by other threads, one bit per vector, and the call that raises them here. acq_rel: the thread
    /// that sets the first bit issues the call, whose exchange pairs with it.
    std::atomic<std::uint32_t> remote_softirqs{0};
    call_single_data remote_softirqs_call;

    // --- counters ---
    alignas(64) softnet_stats stats;

    // --- exclusion, and parts of the bottom half that the packet path rarely uses ---
    alignas(64) pi_lock *lock = nullptr; ///< null in mode `exclusive`. Constant once started
    unsigned bh_disabled = 0;            ///< nesting of local_bh_disable() of the thread in the section
    bool in_turn = false;                ///< not `exclusive`: the section is a turn of the CPU's own thread
    bool hardirq = false;                ///< the raised irq_work list is running
    bool ksoftirqd_active = false;       ///< `ksoftirqd/N` serves pending vectors: the CPU's own thread may block
    ktime_t wait_until = KTIME_MAX;      ///< not `exclusive`: until when the CPU's own thread blocks
    napi_struct *backlog = nullptr;      ///< packets from other CPUs (napi_backlog_add()); null: there is no netio
    /// Checks whether the CPUs that got packets poll their backlogs, and kicks those that do not. Set by netio.
    void (*kick_idle_backlogs)(softnet_data &) noexcept = nullptr;
    smpboot_thread *ksoftirqd = nullptr; ///< null: the CPU's own thread does its work. Constant once started
    deferred_work *deferred = nullptr;   ///< tasklets, BH work, irq_work and RCU callbacks. Constant

    // --- hotplug ---
    /// False: the CPU takes no new work (runtime::cpu_down()). Written by the control thread; seq_cst against
    /// `attachments` (Dekker).
    std::atomic<bool> online{true};
    std::atomic<unsigned> attachments{0}; ///< number of cpu_attachment objects
    bh_thread *thread = nullptr;          ///< the CPU's own thread. Constant
    softnet_data *adopter = nullptr;      ///< its stand-in while it is offline. Written while its thread is held
    std::vector<napi_struct *> napis;     ///< instances attached here. Control thread
    std::vector<smpboot_thread *> further_threads; ///< started smpboot threads. Control thread
};
static_assert(offsetof(softnet_data, sleeping) % 64 == 0 && offsetof(softnet_data, stats) % 64 == 0,
              "what other CPUs touch shares no cache line with the hot group");

/// The CPU in whose section the calling thread is; null if it is in none. In mode `exclusive`, a CPU's own thread is
/// always in a section.
softnet_data *this_softnet_data() noexcept;

/// Disables bottom halves for the lifetime of the object. A bottom-half thread that is in no section enters one this
/// way to use its CPU's state (local_bh_disable()).
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

/// The access of code in a section to its CPU's state. It compiles to nothing, since the section already excludes the
/// CPU's other bottom-half threads; debug builds assert the section.
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

/// Wakes the CPU if it sleeps, after the caller has published work for it. Any thread; makes at most one system call,
/// and only if the CPU sleeps. Call it once per burst.
void kick_cpu(softnet_data &sd) noexcept;

/// Queues `call` to run on the CPU's own thread, and kicks the CPU (the kernel's smp_call_function_single_async()).
/// Queued calls run newest first. Any thread.
void call_on_async(softnet_data &sd, call_single_data &call) noexcept;

} // namespace halfpoll
