// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/hybrid_policy.hpp>
#include <halfpoll/ktime.hpp>
#include <halfpoll/softirq.hpp>

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

struct rte_rcu_qsbr;

namespace halfpoll
{

/// Start-up settings of one runtime CPU.
struct cpu_options {
    int affinity = -1;     ///< logical CPU to pin to; -1: not pinned (tests)
    int fifo_priority = 0; ///< 1-99: SCHED_FIFO; 0: SCHED_OTHER. If it is refused, the CPU runs without it (`warn`)
    std::string name{};    ///< name of its thread, cut after 15 bytes; empty: hp/N
    /// The CPU does only work that names it, as a force-threaded interrupt handler does: it is no stand-in for an
    /// offline CPU, gets no queue that does not name it, and is not parked by the autoscaler. At least one CPU is not
    /// dedicated.
    bool dedicated = false;
};

/// How the bottom-half threads of one CPU exclude each other from the CPU's data.
enum class exclusion_mode : std::uint8_t {
    exclusive, ///< there is one such thread; exclusion costs nothing
    big,       ///< several, of any priority; one priority-inheriting lock per CPU, held for a whole section
    /// As `big`, but several runtime CPUs, of different priorities, may lie on one logical CPU. Their sections preempt
    /// each other; each resource that they share (a tx queue) has a lock that is held briefly (local_lock.hpp,
    /// docs/locks.md).
    nested,
};

/// Start-up settings; names and defaults are the kernel's (net.core.*).
struct runtime_options {
    std::vector<cpu_options> cpus{1};
    unsigned netdev_budget = 300;        ///< packets per NET_RX dispatch, at start; 1 to 1,000,000
    unsigned netdev_budget_usecs = 2000; ///< us per NET_RX dispatch, at start; 1 to 1,000,000
    hybrid_limits hybrid;                ///< with sleep_cost 0, the runtime measures it at start
    bool interrupts = true;              ///< false: CPUs never block, and every queue spins
    exclusion_mode exclusion = exclusion_mode::exclusive;
    /// Not `exclusive`: each CPU has a thread `ksoftirqd/N` (SCHED_OTHER), which serves what a dispatch leaves at its
    /// limits.
    bool ksoftirqd = false;
    /// Not `exclusive`: each CPU has a thread `irq_work/N` (SCHED_FIFO 1), which runs irq_work that is not HARD_IRQ.
    bool irq_workd = false;
    /// Not `exclusive`: a thread `backlog_napi/N`, which other CPUs wake, processes the packets that come from them,
    /// instead of NET_RX on the CPU's own thread.
    bool thread_backlog_napi = false;
    /// Not `exclusive`: priority of the threads `napi/NAME` and `backlog_napi/N`. 1-99: SCHED_FIFO; 0: SCHED_OTHER.
    int napi_fifo_priority = 0;
    clock_fn clock = ktime_get;
    /// Receives one-line messages about what is degraded (no SCHED_FIFO, no io_uring …). Control thread. May be empty.
    std::function<void(const std::string &)> warn;
};

/// The part of a runtime that its bottom half reads: settings, clock, bounds, the table of softirq handlers, the RCU
/// readers. Class runtime is one, and alone changes it.
class runtime_env
{
public:
    runtime_env(const runtime_env &) = delete;
    runtime_env &operator=(const runtime_env &) = delete;

    /// The options as they took effect: every thread has a name, and priority 0 if the system refused another.
    const runtime_options &options() const noexcept { return options_; }
    /// The time by the runtime's clock. Any thread.
    ktime_t now() const noexcept { return options_.clock(); }
    /// The current bounds of a NET_RX dispatch, in packets and in us. Any thread.
    unsigned netdev_budget() const noexcept { return netdev_budget_.load(std::memory_order_relaxed); }
    unsigned netdev_budget_usecs() const noexcept { return netdev_budget_usecs_.load(std::memory_order_relaxed); }
    /// Why no CPU can block ("io_uring: …"), so that every queue spins; empty if CPUs can.
    const std::string &no_wait_reason() const noexcept { return no_wait_reason_; }

    /// The function that a dispatch calls: the handler, or, while tracing is on, one that emits events around it. Any
    /// thread.
    softirq_action action(softirq_vec vec) const noexcept
    {
        return softirq_vec_.data()[vec].load(std::memory_order_relaxed);
    }
    /// The handler that runtime::open_softirq() installed. Any thread.
    softirq_action softirq_handler(softirq_vec vec) const noexcept { return handlers_[vec]; }

    /// The readers of shared tables. Each bottom-half thread is one: a CPU's own thread is quiescent once per loop and
    /// offline while it blocks; another thread is online in its sections only.
    rte_rcu_qsbr *qsbr() noexcept { return qsbr_.get(); }

protected:
    explicit runtime_env(runtime_options options)
        : options_(std::move(options)), netdev_budget_(options_.netdev_budget),
          netdev_budget_usecs_(options_.netdev_budget_usecs)
    {
    }
    ~runtime_env() = default;

    runtime_options options_;
    /// Written by the control thread, read by data CPUs; relaxed: each value stands alone.
    std::atomic<unsigned> netdev_budget_, netdev_budget_usecs_;
    softirq_action handlers_[NR_SOFTIRQS] = {}; ///< constant once traffic flows
    /// Written by the control thread, read by bottom-half threads; relaxed: an old value and a new one both serve the
    /// vector.
    std::array<std::atomic<softirq_action>, NR_SOFTIRQS> softirq_vec_{};
    std::unique_ptr<rte_rcu_qsbr, void (*)(rte_rcu_qsbr *)> qsbr_{nullptr, nullptr};
    std::string no_wait_reason_;
};

} // namespace halfpoll
