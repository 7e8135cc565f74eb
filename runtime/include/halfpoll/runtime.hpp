// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/error.hpp>
#include <halfpoll/runtime_env.hpp>

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace halfpoll
{

struct softnet_data;

/// The functions of one component for a CPU that goes online or offline (the kernel's cpuhp states). All run on the
/// control thread; any may be empty. The runtime calls components in the order of their registration when a CPU goes
/// online, and in reverse order when it goes offline.
struct cpuhp_step {
    std::string name;                          ///< for messages
    std::function<void(unsigned cpu)> prepare; ///< going online, before the CPU runs. `error`: it stays offline
    std::function<void(unsigned cpu)> online;  ///< going online, when the CPU runs. `error`: it goes offline again
    /// Going offline, while the CPU runs. `error`: it stays online, and `online` of the components that were offline
    /// already is called again, whose errors become part of the message.
    std::function<void(unsigned cpu)> offline;
    std::function<void(unsigned cpu)> dead; ///< when the CPU is offline. Undoes `prepare`; never throws
};

/// A set of runtime CPUs, each with a bottom-half thread of its own: the object that an embedder holds. The EAL is
/// initialised before (the threads register lcore ids). The runtime installs no signal handlers and does not change the
/// caller's affinity. Construct, use and destroy it on one thread, the control thread; functions for other threads say
/// so.
class runtime : public runtime_env
{
public:
    /// Starts the threads, and returns when they are idle. Throws `error` if an option is out of range or contradicts
    /// the exclusion mode, or if the system refuses PI futexes, a thread, an lcore id, an affinity or an eventfd.
    explicit runtime(runtime_options options);
    /// Stops and joins the threads. All NAPI instances, and all cpu_attachment objects, are gone before.
    ~runtime();
    runtime(const runtime &) = delete;
    runtime &operator=(const runtime &) = delete;

    unsigned cpus() const noexcept;
    softnet_data &cpu(unsigned n) noexcept;
    /// The number of CPUs that are not `dedicated`.
    unsigned general_cpus() const noexcept;
    /// The first of the runtime CPUs that lie on one logical CPU with `cpu` and preempt each other there (mode
    /// `nested`); else `cpu` itself.
    unsigned first_on_core(unsigned cpu) const noexcept;
    /// True if other runtime CPUs lie on the same logical CPU as `cpu` (mode `nested`).
    bool shares_core(unsigned cpu) const noexcept;
    /// Changes the bounds from the next dispatch on. Throws `error`, with nothing changed, if one is not between 1 and
    /// 1,000,000.
    void set_netdev_budget(unsigned packets, unsigned usecs);
    /// Installs the handler of a vector (the kernel's open_softirq()). Before traffic starts. NET_RX, HRTIMER, HI and
    /// TASKLET (tasklets and BH work) and RCU belong to the runtime.
    void open_softirq(softirq_vec vec, softirq_action handler) noexcept;
    /// Switches the emission of events on or off, whatever the EAL traces (trace.hpp).
    void trace_switch(bool on) noexcept;

    /// Runs `fn` on the CPU's own thread, between polls, and waits until it has returned. `fn` gets the softnet_data of
    /// the CPU that runs it, which is the stand-in if `cpu` is offline. An exception of `fn` is rethrown. Control work
    /// only: throws `error` in a section, and is never called from a bottom-half thread.
    void call_on(unsigned cpu, const std::function<void(softnet_data &)> &fn);

    /// Takes a CPU offline while packets flow. Its thread sleeps until cpu_up(). Another CPU, on the same logical CPU
    /// if possible, becomes its stand-in: it gets all that is attached to the CPU or comes for it, which is NAPI
    /// instances with their interrupts, timers, tasklets, BH work, irq_work, softirqs, calls and RCU callbacks. Nothing
    /// is lost. Throws `error`, with nothing changed, if the CPU does not exist or is offline, is the last one online
    /// that is not `dedicated`, or has a cpu_attachment; or if a cpuhp_step throws.
    void cpu_down(unsigned cpu);
    /// Takes a CPU online again, with the instances and timers that were its own. Throws `error` if the CPU does not
    /// exist or is online; or if a cpuhp_step throws. Then the CPU stays offline; but if it cannot go offline again,
    /// for one of the reasons of cpu_down(), it stays online without the component that failed.
    void cpu_up(unsigned cpu);
    /// True if the CPU does its own work. Any thread; changes within cpu_down() and cpu_up().
    bool cpu_online(unsigned cpu) const noexcept;
    unsigned num_online_cpus() const noexcept;
    /// The CPU that does the work of `cpu`: `cpu` itself, or its stand-in while it is offline.
    unsigned served_by(unsigned cpu) const noexcept;
    /// Registers a component that follows CPUs. For CPUs that are offline already, `dead` is not called. Returns a
    /// handle for cpuhp_remove_state().
    unsigned cpuhp_setup_state(cpuhp_step step);
    /// Removes a component; calls none of its functions.
    void cpuhp_remove_state(unsigned handle) noexcept;

    /// Waits until every reader has passed a quiescent state; objects that were unlinked before may then be freed. Any
    /// control thread; sleeps, does not spin.
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
    std::string cpuhp_online_again(unsigned cpu, std::size_t from, std::size_t to);
    void cpuhp_offline(unsigned cpu, std::size_t steps);
    void withdraw(unsigned cpu, std::size_t steps);
    void take_down(unsigned cpu);
    void bring_up(unsigned cpu);
    void drain_calls_of(unsigned cpu);

    std::vector<std::unique_ptr<thread>> threads_;
    std::vector<registered_step> steps_;
    unsigned last_step_ = 0;
};

class bh_registration;

/// Makes the calling thread a further bottom-half thread of a CPU for the lifetime of the object, so that it may use
/// local_bh_disable() and bh_section there. The thread is pinned to the CPU's affinity, a DPDK lcore, and an RCU reader
/// in its sections. Construct and destroy on that thread, within the runtime's life. A CPU with a cpu_attachment cannot
/// go offline.
class cpu_attachment
{
public:
    /// Throws `error` if the mode is `exclusive`, in which a CPU has no bottom-half thread but its own; if the CPU is
    /// offline; if the thread is a bottom-half thread already; or if the system refuses the affinity, or the EAL an
    /// lcore id.
    cpu_attachment(runtime &rt, unsigned cpu);
    ~cpu_attachment();
    cpu_attachment(const cpu_attachment &) = delete;
    cpu_attachment &operator=(const cpu_attachment &) = delete;

private:
    std::unique_ptr<bh_registration> registration_;
    softnet_data *sd_ = nullptr;
};

} // namespace halfpoll
