// SPDX-License-Identifier: BSD-3-Clause
#include <halfpoll/runtime_env.hpp>

#include "bh_thread.hpp"
#include "runtime/base/race_point.hpp"
#include "runtime/softirq/local_bh.hpp"
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

/// True unless another state is requested.
bool keeps_running(const bh_thread &t) noexcept
{
    return t.wish.load(std::memory_order_acquire) == cpu_state::running; // pairs with bh_thread_request()
}

/// Announces sleep, checks again for work, blocks, and undoes that in reverse. Devices were checked again when their
/// interrupts were unmasked.
void cpu_idle(bh_thread &t) noexcept
{
    softnet_data &sd = t.sd;
    HALFPOLL_RACE_POINT(idle_before_announce, &sd);
    announce_sleep(sd);
    HALFPOLL_RACE_POINT(idle_announced, &sd);
    if (!remote_pending(sd) && keeps_running(t)) {
        HALFPOLL_RACE_POINT(idle_before_block, &sd);
        stat_add(sd.stats.sleeps);
        rte_rcu_qsbr_thread_offline(sd.env->qsbr(), sd.cpu);
        sd.engine->wait(sd.timers.next_expiry());
        rte_rcu_qsbr_thread_online(sd.env->qsbr(), sd.cpu);
        stat_add(sd.stats.wakeups);
    }
    sd.sleeping.store(0, std::memory_order_relaxed); // producers need not ring: the next turn checks everything
}

/// Decides whether to sleep, and announces it. In a section. Other threads of the CPU that make work afterwards do so
/// in sections of their own, whose end rings the doorbell.
bool prepare_sleep(bh_thread &t) noexcept
{
    softnet_data &sd = t.sd;
    if (!sd.engine || (cpu_has_work(sd) && !sd.ksoftirqd_active)) {
        return false;
    }
    HALFPOLL_RACE_POINT(idle_before_announce, &sd);
    announce_sleep(sd);
    HALFPOLL_RACE_POINT(idle_announced, &sd);
    sd.wait_until = sd.timers.next_expiry();
    return !remote_pending(sd) && keeps_running(t);
}

/// Blocks until an event or `sd.wait_until`. In no section.
void block_between_turns(softnet_data &sd) noexcept
{
    HALFPOLL_RACE_POINT(idle_before_block, &sd);
    stat_add(sd.stats.sleeps);
    rte_rcu_qsbr_thread_offline(sd.env->qsbr(), sd.cpu);
    sd.engine->block(sd.wait_until);
    rte_rcu_qsbr_thread_online(sd.env->qsbr(), sd.cpu);
    stat_add(sd.stats.wakeups);
}

} // namespace

void cpu_loop_locked(bh_thread &t) noexcept
{
    softnet_data &sd = t.sd;
    bool stop = false;
    while (!stop) {
        const cpu_state wish = t.wish.load(std::memory_order_acquire); // pairs with the release in bh_thread_request()
        if (wish == cpu_state::held) [[unlikely]] {
            cpu_offline_loop(t);
            continue;
        }
        stop = wish == cpu_state::stopped;
        turn_begin(sd);
        if (sd.engine) {
            sd.engine->submit_deferred();
        }
        cpu_turn(sd); // the last turn runs the calls that are left
        if (sd.softirq_pending != 0) {
            wakeup_softirqd(sd);
        }
        const bool sleep = prepare_sleep(t);
        turn_end(sd);
        if (sleep) {
            block_between_turns(sd);
        }
        sd.sleeping.store(0, std::memory_order_relaxed); // producers need not ring: the next turn checks everything
    }
    turn_begin(sd);
    sd.engine = nullptr; // the engine ends with this thread; irq_work/N may live longer
    turn_end(sd);
}

void cpu_loop(bh_thread &t) noexcept
{
    softnet_data &sd = t.sd;
    for (;;) {
        const cpu_state wish = t.wish.load(std::memory_order_acquire); // pairs with the release in bh_thread_request()
        if (wish != cpu_state::running) [[unlikely]] {
            if (wish == cpu_state::stopped) {
                break;
            }
            cpu_offline_loop(t);
            continue;
        }
        cpu_turn(sd);
        if (cpu_has_work(sd)) {
            continue;
        }
        if (sd.engine) {
            cpu_idle(t);
        } else {
            rte_pause();
        }
    }
    take_remote(sd); // runs the calls that are left
}

} // namespace halfpoll
