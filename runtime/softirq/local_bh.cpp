// SPDX-License-Identifier: BSD-3-Clause
#include "local_bh.hpp"

#include <halfpoll/pi_lock.hpp>
#include <halfpoll/runtime_env.hpp>
#include <halfpoll/wait_engine.hpp>

#include "runtime/base/bh_self.hpp"
#include "runtime/thread/smpboot.hpp"

#include <rte_rcu_qsbr.h>

namespace halfpoll
{

namespace
{

void section_begin(softnet_data &sd) noexcept
{
    sd.lock->lock();
    this_bh_self.section = &sd;
    if (!this_bh_self.own) {
        rte_rcu_qsbr_thread_online(sd.env->qsbr(), this_bh_self.reader);
        if (sd.engine) {
            sd.engine->defer_requests(true);
        }
    }
    sd.now = sd.env->now();
}

/// True if the CPU's own thread has to wake: for requests to its engine, for a timer that expires before it would wake,
/// or for work that `ksoftirqd/N` does not serve.
bool own_thread_needed(const softnet_data &sd) noexcept
{
    return (sd.engine && sd.engine->has_deferred()) || sd.timers.next_expiry() < sd.wait_until ||
           (cpu_has_work(sd) && !sd.ksoftirqd_active);
}

void section_end(softnet_data &sd) noexcept
{
    bool needed = false;
    if (!this_bh_self.own) {
        if (sd.backlogs_unchecked) {
            sd.kick_idle_backlogs(sd);
        }
        needed = own_thread_needed(sd);
        if (sd.engine) {
            sd.engine->defer_requests(false);
        }
        rte_rcu_qsbr_thread_offline(sd.env->qsbr(), this_bh_self.reader);
    }
    this_bh_self.section = nullptr;
    sd.lock->unlock();
    if (needed) {
        kick_cpu(sd); // the CPU's own thread announces its sleep before it releases the lock
    }
}

} // namespace

void turn_begin(softnet_data &sd) noexcept
{
    section_begin(sd);
    sd.in_turn = true;
}

void turn_end(softnet_data &sd) noexcept
{
    sd.in_turn = false;
    section_end(sd);
}

void local_bh_disable() noexcept
{
    assert(this_bh_self.home && !in_hardirq());
    softnet_data &sd = *this_bh_self.home;
    if (!this_bh_self.section) {
        section_begin(sd);
    }
    ++sd.bh_disabled;
}

void local_bh_enable() noexcept
{
    assert(this_bh_self.section && this_bh_self.section->bh_disabled > 0 && !in_hardirq());
    softnet_data &sd = *this_bh_self.section;
    if (sd.bh_disabled == 1 && !sd.serving_softirq && sd.softirq_pending != 0) {
        sd.now = sd.env->now();
        if (do_softirq(sd)) { // bottom halves are still disabled here, so that a handler's own section is nested
            wakeup_softirqd(sd);
        }
    }
    if (--sd.bh_disabled == 0 && has_section_lock(sd) && !sd.in_turn && !sd.serving_softirq) {
        section_end(sd);
    }
}

bool in_hardirq() noexcept { return this_bh_self.section && this_bh_self.section->hardirq; }

bool in_serving_softirq() noexcept { return this_bh_self.section && this_bh_self.section->serving_softirq; }

bool in_softirq() noexcept
{
    return this_bh_self.section && (this_bh_self.section->serving_softirq || this_bh_self.section->bh_disabled > 0);
}

bool in_interrupt() noexcept { return in_hardirq() || in_softirq(); }

bool in_task() noexcept { return !in_hardirq() && !in_serving_softirq(); }

void wakeup_softirqd(softnet_data &sd) noexcept
{
    if (sd.ksoftirqd) {
        sd.ksoftirqd_active = true;
        sd.ksoftirqd->wake();
    }
}

void raise_softirq_irqoff(softnet_data &sd, softirq_vec vec) noexcept
{
    local_lock bh(sd);
    __raise_softirq_irqoff(*bh, vec);
    if (!in_interrupt()) {
        wakeup_softirqd(*bh);
    }
}

void raise_softirq(softnet_data &sd, softirq_vec vec) noexcept
{
    if (this_softnet_data() == &sd) {
        raise_softirq_irqoff(sd, vec);
        return;
    }
    // acq_rel; pairs with the exchange in raise_remote_softirqs(), after which the next raise issues a call again.
    if (sd.remote_softirqs.fetch_or(1U << vec, std::memory_order_acq_rel) == 0) {
        call_on_async(sd, sd.remote_softirqs_call);
    }
}

} // namespace halfpoll
