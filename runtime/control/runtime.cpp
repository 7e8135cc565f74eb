// SPDX-License-Identifier: BSD-3-Clause
#include "runtime_thread.hpp"

#include "runtime/cpu/call_on.hpp"
#include "runtime/napi/net_rx.hpp"
#include "runtime/softirq/rcu_internal.hpp"
#include "runtime/softirq/tasklet_internal.hpp"

#include <rte_rcu_qsbr.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <new>

namespace halfpoll
{

namespace
{

void hrtimer_action(softnet_data &sd) noexcept
{
    sd.now = sd.env->now();
    sd.timers.run_expired(sd.now);
}

void free_qsbr(rte_rcu_qsbr *qsbr) { ::operator delete (qsbr, std::align_val_t{RTE_CACHE_LINE_SIZE}); }

/// The number of RCU reader ids: the CPUs' own threads come first, by CPU, and further threads after them, by lcore id.
unsigned rcu_readers(const runtime_options &options)
{
    const auto cpus = static_cast<unsigned>(options.cpus.size());
    return options.exclusion == exclusion_mode::exclusive ? cpus : cpus + RTE_MAX_LCORE;
}

rte_rcu_qsbr *make_qsbr(unsigned readers)
{
    const std::size_t size = rte_rcu_qsbr_get_memsize(readers);
    auto *qsbr = static_cast<rte_rcu_qsbr *>(::operator new (size, std::align_val_t{RTE_CACHE_LINE_SIZE}));
    if (rte_rcu_qsbr_init(qsbr, readers) != 0) {
        free_qsbr(qsbr);
        throw error("RCU for " + std::to_string(readers) + " runtime CPUs cannot be set up");
    }
    return qsbr;
}

void check_budget(unsigned packets, unsigned usecs)
{
    if (packets == 0 || packets > 1'000'000) {
        throw error("netdev_budget must be 1 to 1000000, not " + std::to_string(packets));
    }
    if (usecs == 0 || usecs > 1'000'000) {
        throw error("netdev_budget_usecs must be 1 to 1000000, not " + std::to_string(usecs));
    }
}

void check_general(const runtime_options &options)
{
    if (options.cpus.empty()) {
        throw error("the runtime needs at least one CPU");
    }
    if (std::ranges::all_of(options.cpus, &cpu_options::dedicated)) {
        throw error("all runtime CPUs are dedicated: one at least has to take what is not given to any of them");
    }
}

/// Gives each CPU's thread its name: "hp/N" if the options name none, and no more than the kernel's 15 bytes.
void name_threads(runtime_options &options)
{
    constexpr std::size_t longest = 15;
    for (std::size_t cpu = 0; cpu < options.cpus.size(); ++cpu) {
        std::string &name = options.cpus[cpu].name;
        name = name.empty() ? "hp/" + std::to_string(cpu) : name.substr(0, longest);
    }
}

void check_pinned(const runtime_options &options)
{
    for (std::size_t cpu = 0; cpu < options.cpus.size(); ++cpu) {
        if (options.exclusion == exclusion_mode::nested && options.cpus[cpu].affinity < 0) {
            throw error("runtime CPU " + std::to_string(cpu) +
                        " has no affinity: in exclusion mode nested each is pinned to a logical CPU");
        }
    }
}

void check_exclusion(const runtime_options &options)
{
    if (options.exclusion != exclusion_mode::exclusive) {
        pi_lock::check_available();
        check_pinned(options);
    } else if (options.ksoftirqd || options.irq_workd || options.thread_backlog_napi) {
        throw error(
            std::string("a thread ") +
            (options.ksoftirqd   ? "ksoftirqd/N"
             : options.irq_workd ? "irq_work/N"
                                 : "backlog_napi/N (thread_backlog_napi)") +
            " makes two bottom-half threads on a CPU, which exclusion mode exclusive does not protect: use mode "
            "big or nested");
    }
}

/// Measures, in ns, the time from a doorbell rung here until the CPU runs: the cost of a sleep that ends with an event.
/// Returns the median of several measurements, limited to 5 to 100 us.
ktime_t measure_sleep_cost(runtime &rt)
{
    std::array<ktime_t, 11> samples;
    for (ktime_t &sample : samples) {
        std::this_thread::sleep_for(std::chrono::microseconds(300)); // until CPU 0 sleeps
        const ktime_t rung = ktime_get();
        rt.call_on(0, [&](softnet_data &) { sample = ktime_get() - rung; });
    }
    std::nth_element(samples.begin(), samples.begin() + samples.size() / 2, samples.end());
    return std::clamp(samples[samples.size() / 2], 5 * NSEC_PER_USEC, 100 * NSEC_PER_USEC);
}

} // namespace

runtime::runtime(runtime_options options) : runtime_env(std::move(options))
{
    check_general(options_);
    check_budget(options_.netdev_budget, options_.netdev_budget_usecs);
    check_exclusion(options_);
    name_threads(options_);
    qsbr_ = {make_qsbr(rcu_readers(options_)), free_qsbr};
    open_softirq(NET_RX_SOFTIRQ, net_rx_action);
    open_softirq(HRTIMER_SOFTIRQ, hrtimer_action);
    open_softirq(TASKLET_SOFTIRQ, tasklet_action);
    open_softirq(HI_SOFTIRQ, tasklet_hi_action);
    open_softirq(RCU_SOFTIRQ, rcu_action);
    try {
        for (cpu_options &cpu : options_.cpus) {
            thread &t = *threads_.emplace_back(std::make_unique<thread>());
            t.options = cpu;
            bh_thread_start(t, *this, cpus() - 1);
            cpu.fifo_priority = t.options.fifo_priority;
            if (no_wait_reason_.empty()) {
                no_wait_reason_ = t.wait_error;
            }
            if (!t.warning.empty() && options_.warn) {
                options_.warn(t.warning);
            }
        }
        if (options_.hybrid.sleep_cost == 0) {
            options_.hybrid.sleep_cost =
                no_wait_reason_.empty() ? measure_sleep_cost(*this) : hybrid_limits{}.sleep_cost;
        }
    } catch (...) {
        threads_.clear(); // the threads end before the members that they use
        throw;
    }
    if (!no_wait_reason_.empty() && options_.interrupts && options_.warn) {
        options_.warn("queues spin, for nothing can wait: " + no_wait_reason_);
    }
}

runtime::~runtime()
{
    trace_finish(*this);
    for (const auto &t : threads_) { // held threads pass no calls on to threads that have ended
        if (t->state.load(std::memory_order_relaxed) == cpu_state::parked) {
            bh_thread_request(*t, cpu_state::held);
        }
    }
    for (const auto &t : threads_) {
        bh_thread_stop(*t);
    }
    for (const auto &t : threads_) { // no reader is left
        rcu_barrier_at_end(t->sd);
    }
    threads_.clear();
}

unsigned runtime::cpus() const noexcept { return static_cast<unsigned>(threads_.size()); }

softnet_data &runtime::cpu(unsigned n) noexcept { return threads_[n]->sd; }

unsigned runtime::general_cpus() const noexcept
{
    return static_cast<unsigned>(std::ranges::count(options_.cpus, false, &cpu_options::dedicated));
}

unsigned runtime::first_on_core(unsigned cpu) const noexcept
{
    if (options_.exclusion == exclusion_mode::nested) {
        const auto &all = options_.cpus;
        for (unsigned first = 0; first < cpu; ++first) {
            if (all[first].affinity == all[cpu].affinity) {
                return first;
            }
        }
    }
    return cpu;
}

bool runtime::shares_core(unsigned cpu) const noexcept
{
    unsigned sharers = 0;
    for (unsigned c = 0; c < cpus(); ++c) {
        sharers += first_on_core(c) == first_on_core(cpu);
    }
    return sharers > 1;
}

void runtime::set_netdev_budget(unsigned packets, unsigned usecs)
{
    check_budget(packets, usecs);
    netdev_budget_.store(packets, std::memory_order_relaxed);
    netdev_budget_usecs_.store(usecs, std::memory_order_relaxed);
}

void runtime::open_softirq(softirq_vec vec, softirq_action handler) noexcept
{
    handlers_[vec] = handler;
    trace_update(*this);
}

void runtime::synchronize_rcu() { halfpoll::synchronize_rcu(*qsbr_); }

void runtime::call_on(unsigned cpu, const std::function<void(softnet_data &)> &fn)
{
    halfpoll::call_on(threads_[cpu]->sd, fn);
}

} // namespace halfpoll
