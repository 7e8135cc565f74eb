// SPDX-License-Identifier: BSD-3-Clause
#include <halfpoll/runtime_env.hpp>

#include "bh_thread.hpp"
#include "cpu_sleep.hpp"
#include "runtime/softirq/local_bh.hpp"
#include "runtime/softirq/poll_list.hpp"
#include "runtime/softirq/remote.hpp"

#include <rte_pause.h>
#include <rte_rcu_qsbr.h>

namespace halfpoll
{

void cpu_turn(softnet_data &sd) noexcept
{
    sd.now = sd.env->now();
    if (sd.engine) {
        sd.engine->poll();
    }
    if (take_remote(sd)) {
        sd.now = sd.env->now();
    }
    if (sd.timers.next_expiry() <= sd.now) {
        __raise_softirq_irqoff(sd, HRTIMER_SOFTIRQ);
    }
    if (!sd.spin_list.empty()) {
        sd.poll_list.splice_back(sd.spin_list);
        __raise_softirq_irqoff(sd, NET_RX_SOFTIRQ);
    }
    do_softirq(sd);
    if (sd.backlogs_unchecked) {
        sd.kick_idle_backlogs(sd);
    }
    rte_rcu_qsbr_quiescent(sd.env->qsbr(), sd.cpu);
}

namespace
{

/// The last look before sleep: true if an instance or a call from another thread waits, or another state is requested.
/// Devices were checked again when their interrupts were unmasked.
bool work_came(const bh_thread &t) noexcept { return remote_pending(t.sd) || t.requested() != cpu_state::running; }

/// Blocks until an event, which the next turn delivers, or until the absolute time `until`.
void block(softnet_data &sd, ktime_t until) noexcept
{
    stat_add(sd.stats.sleeps);
    rte_rcu_qsbr_thread_offline(sd.env->qsbr(), sd.cpu);
    sd.engine->block(until);
    rte_rcu_qsbr_thread_online(sd.env->qsbr(), sd.cpu);
    stat_add(sd.stats.wakeups);
}

/// A turn in mode `exclusive`, and sleep if the CPU is idle.
void exclusive_turn(bh_thread &t) noexcept
{
    softnet_data &sd = t.sd;
    cpu_turn(sd);
    if (cpu_has_work(sd)) {
        return;
    }
    if (sd.engine) {
        const auto last_look = [&] { return work_came(t); };
        sleep_unless(sd, last_look, [&] { block(sd, sd.timers.next_expiry()); });
    } else {
        rte_pause();
    }
}

/// A turn in modes `big` and `nested`, and sleep if the CPU is idle. The sleep is announced, and the last look made, in
/// the section of the turn; the thread blocks in none. Other threads of the CPU that make work afterwards do so in
/// sections of their own, whose end rings the doorbell.
void locked_turn(bh_thread &t) noexcept
{
    softnet_data &sd = t.sd;
    turn_begin(sd);
    if (sd.engine) {
        sd.engine->submit_deferred();
    }
    cpu_turn(sd);
    if (sd.softirq_pending != 0) {
        wakeup_softirqd(sd);
    }
    if (!sd.engine || (cpu_has_work(sd) && !sd.ksoftirqd_active)) {
        turn_end(sd);
        return;
    }
    const auto last_look = [&] {
        sd.wait_until = sd.timers.next_expiry();
        const bool work = work_came(t);
        turn_end(sd);
        return work;
    };
    sleep_unless(sd, last_look, [&] { block(sd, sd.wait_until); });
}

/// Runs turns, and cpu_offline_loop() while the CPU is offline, until the state `stopped` is requested.
template <void turn(bh_thread &) noexcept>
void run_turns(bh_thread &t) noexcept
{
    for (;;) {
        const cpu_state wish = t.requested();
        if (wish == cpu_state::running) [[likely]] {
            turn(t);
        } else if (wish == cpu_state::stopped) {
            return;
        } else {
            cpu_offline_loop(t);
        }
    }
}

} // namespace

void cpu_loop(bh_thread &t) noexcept
{
    run_turns<exclusive_turn>(t);
    take_remote(t.sd); // runs the calls that are left
}

void cpu_loop_locked(bh_thread &t) noexcept
{
    softnet_data &sd = t.sd;
    run_turns<locked_turn>(t);
    turn_begin(sd);
    cpu_turn(sd);        // runs the calls that are left
    sd.engine = nullptr; // the engine ends with this thread; irq_work/N may live longer
    turn_end(sd);
}

} // namespace halfpoll
