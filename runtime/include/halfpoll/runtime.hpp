// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/error.hpp>
#include <halfpoll/softnet_data.hpp>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

struct rte_rcu_qsbr;

namespace halfpoll
{

struct cpu_options {
    int affinity = -1;     ///< logical CPU to pin to; -1: not pinned (tests)
    int fifo_priority = 0; ///< 1-99: SCHED_FIFO; 0: SCHED_OTHER. Refused by the system: said once, run without
    std::string name{};    ///< of its thread, the first 15 bytes; empty: hp/N
    /// For what is given to it by number, as a force-threaded interrupt handler: takes over nothing from CPUs that go
    /// offline, gets no queue that does not name it, and is none that autoscaling parks. One CPU at least is not.
    bool dedicated = false;
};

/// How the bottom-half threads of one CPU keep off each other's data.
enum class exclusion_mode : std::uint8_t {
    exclusive, ///< there is one such thread: it costs nothing
    big,       ///< several, of any priority; one priority-inheriting lock per CPU, held for a whole section
    /// As `big`, but runtime CPUs may lie on one logical CPU and have different priorities. Their sections preempt each
    /// other; what they share (tx queues) has a lock each, held for a moment (local_lock.hpp, docs/locks.md).
    nested,
};

/// Start-up settings; names and defaults are the kernel's (net.core.*).
struct runtime_options {
    std::vector<cpu_options> cpus{1};
    unsigned netdev_budget = 300;        ///< packets per NET_RX dispatch, at start
    unsigned netdev_budget_usecs = 2000; ///< us per NET_RX dispatch, at start
    hybrid_limits hybrid;                ///< sleep_cost 0: measured at start
    bool interrupts = true;              ///< false: never block, every queue spins
    exclusion_mode exclusion = exclusion_mode::exclusive;
    bool ksoftirqd =
        false; ///< not `exclusive`: a thread `ksoftirqd/N` (SCHED_OTHER) for what outlives a dispatch's limits
    bool irq_workd = false; ///< not `exclusive`: a thread `irq_work/N` (SCHED_FIFO 1) for irq_work that is not HARD
    /// Not `exclusive`: packets from other CPUs are processed by a thread `backlog_napi/N` (SCHED_OTHER), which they
    /// wake, instead of in the NET_RX of the CPU's own thread.
    bool thread_backlog_napi = false;
    /// Not `exclusive`: of threads `napi/NAME` and `backlog_napi/N`, 1-99: SCHED_FIFO; 0: SCHED_OTHER.
    int napi_fifo_priority = 0;
    clock_fn clock = ktime_get;
    /// Where one-line messages about degraded start-up go (no SCHED_FIFO, no io_uring …). Control thread only.
    std::function<void(const std::string &)> warn;
};

/// What a part of the program does when a CPU comes and goes (the kernel's cpuhp states). All on the control thread;
/// what is empty is left out. The parts are called in the order of their registration on the way up, in reverse on the
/// way down.
struct cpuhp_step {
    std::string name;
    std::function<void(unsigned cpu)> prepare; ///< up: it does not run yet. May throw `error`: it stays offline
    std::function<void(unsigned cpu)> online;  ///< up: it runs. May throw `error`: it goes offline again
    std::function<void(unsigned cpu)> offline; ///< down: it still runs. May throw `error`: it stays online
    std::function<void(unsigned cpu)> dead;    ///< down: it stands still. Undoes `prepare`; must not throw
};

/// A set of runtime CPUs, each with one bottom-half thread: the object an embedder holds. Expects an initialised EAL
/// (the threads register lcore ids); installs no signal handlers and leaves the caller's affinity alone. Construct, use
/// and destroy on one thread, the control thread.
class runtime
{
public:
    /// Throws `error`. Threads are started and idle when it returns.
    explicit runtime(runtime_options options);
    /// Stops and joins the threads. All NAPI instances must have been deleted.
    ~runtime();
    runtime(const runtime &) = delete;
    runtime &operator=(const runtime &) = delete;

    unsigned cpus() const noexcept;
    softnet_data &cpu(unsigned n) noexcept;
    /// As they came into force: threads have names, and priority 0 if the system refused another.
    const runtime_options &options() const noexcept { return options_; }
    /// Of those that are not `dedicated`.
    unsigned general_cpus() const noexcept;
    /// The first of the runtime CPUs that lie on one logical CPU with `cpu` and preempt each other there (mode
    /// `nested`); else `cpu` itself.
    unsigned first_on_core(unsigned cpu) const noexcept;
    /// Others preempt it there, or it them.
    bool shares_core(unsigned cpu) const noexcept;
    ktime_t now() const noexcept { return options_.clock(); }
    /// Bounds of a NET_RX dispatch as they are now. Any thread.
    unsigned netdev_budget() const noexcept { return netdev_budget_.load(std::memory_order_relaxed); }
    unsigned netdev_budget_usecs() const noexcept { return netdev_budget_usecs_.load(std::memory_order_relaxed); }
    /// Changes them, from the next dispatch on. Control thread; throws `error` out of range, and changes nothing then.
    void set_netdev_budget(unsigned packets, unsigned usecs);
    /// Empty, or why no CPU can block ("io_uring: …"): every queue then spins.
    const std::string &no_wait_reason() const noexcept;

    /// Installs a handler; before traffic starts. NET_RX, HRTIMER, HI and TASKLET (tasklets and BH
    /// work) and RCU are the runtime's own. The kernel's
    /// open_softirq().
    void open_softirq(softirq_vec vec, softirq_action handler) noexcept;
    /// What a dispatch calls: the handler, or while something is traced one that tells of it and calls the handler.
    softirq_action action(softirq_vec vec) const noexcept
    {
        return softirq_vec_.data()[vec].load(std::memory_order_relaxed);
    }
    softirq_action softirq_handler(softirq_vec vec) const noexcept { return handlers_[vec]; }

    /// Events are emitted from now on, or not; does not ask the EAL (trace.hpp). Control thread.
    void trace_switch(bool on) noexcept;

    /// Runs `fn` on the CPU's thread between polls and waits for it. Control work only, not from a bottom-half thread.
    /// An exception that `fn` throws is rethrown here. If the CPU is offline, on the CPU that serves it, whose
    /// softnet_data is passed.
    void call_on(unsigned cpu, const std::function<void(softnet_data &)> &fn);

    /// Takes a CPU out while work goes on: its thread sleeps until cpu_up(), and what is attached to the CPU or comes
    /// for it goes to another one, on the same logical CPU if there is such a one: NAPI instances with their
    /// interrupts, timers, tasklets, BH work, irq_work, softirqs, calls and RCU callbacks. Nothing is lost. Control
    /// thread; throws `error`, and everything is as before, if the CPU is the last one online that is not `dedicated`,
    /// has a cpu_attachment, or a cpuhp_step objects.
    void cpu_down(unsigned cpu);
    /// Puts it back, with the instances and timers that were its own. Control thread; throws `error` likewise.
    void cpu_up(unsigned cpu);
    /// It takes work of its own. Any thread; changes within cpu_down() and cpu_up().
    bool cpu_online(unsigned cpu) const noexcept;
    unsigned num_online_cpus() const noexcept;
    /// The CPU that does a CPU's work: itself, or while it is offline another one. Control thread.
    unsigned served_by(unsigned cpu) const noexcept;
    /// Adds a part that follows CPUs; for those that are offline already, `dead` is not called. Returns its handle.
    /// Control thread.
    unsigned cpuhp_setup_state(cpuhp_step step);
    void cpuhp_remove_state(unsigned handle) noexcept;

    /// Readers of shared tables: every bottom-half thread is one (quiescent once per loop, offline while blocked).
    rte_rcu_qsbr *qsbr() noexcept;
    /// Waits until every reader has passed a quiescent state: what was unlinked before may be freed. Control threads;
    /// sleeps, does not spin.
    void synchronize_rcu();

private:
    struct thread;
    struct registered_step {
        unsigned handle;
        cpuhp_step step;
    };
    void check_cpu(unsigned cpu, bool online) const;
    bool takes_over(unsigned cpu) const noexcept;
    unsigned survivor_of(unsigned cpu) const noexcept;
    void cpuhp_offline(unsigned cpu);
    void take_down(unsigned cpu);
    void bring_up(unsigned cpu);
    void drain_calls_of(unsigned cpu);

    runtime_options options_;
    /// Written by the control thread, read by data cores; relaxed, values of their own.
    std::atomic<unsigned> netdev_budget_, netdev_budget_usecs_;
    softirq_action handlers_[NR_SOFTIRQS] = {}; ///< constant once traffic flows
    /// Written by the control thread, read by bottom-half threads; relaxed: either handler does.
    std::array<std::atomic<softirq_action>, NR_SOFTIRQS> softirq_vec_{};
    std::vector<std::unique_ptr<thread>> threads_;
    std::unique_ptr<rte_rcu_qsbr, void (*)(rte_rcu_qsbr *)> qsbr_;
    std::string no_wait_reason_;
    std::vector<registered_step> steps_;
    unsigned last_step_ = 0;
};

class bh_registration;

/// Makes the calling thread one more bottom-half thread of a CPU for as long as it lives, so that it may use
/// local_bh_disable() and bh_section there: pinned to the CPU, a DPDK lcore, an RCU reader in its sections. Construct
/// and destroy on that thread, within the runtime's life. Not in mode `exclusive`.
class cpu_attachment
{
public:
    /// Throws `error`, in mode `exclusive` too: there a CPU has no other bottom-half thread than its own; and if the
    /// CPU is offline. A CPU that has one cannot go offline.
    cpu_attachment(runtime &rt, unsigned cpu);
    ~cpu_attachment();
    cpu_attachment(const cpu_attachment &) = delete;
    cpu_attachment &operator=(const cpu_attachment &) = delete;

private:
    std::unique_ptr<bh_registration> registration_;
    softnet_data *sd_ = nullptr;
};

} // namespace halfpoll
