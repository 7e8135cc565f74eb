// SPDX-License-Identifier: BSD-3-Clause
#include <halfpoll/runtime.hpp>

#include "local_bh.hpp"
#include "runtime/cpu/bh_thread.hpp"
#include "runtime/thread/smpboot.hpp"

#include <rte_rcu_qsbr.h>

namespace halfpoll
{

namespace
{

/// The role of the calling thread in the runtime.
struct bh_self {
    softnet_data *home = nullptr;    ///< its CPU; null: it is no bottom-half thread
    softnet_data *section = nullptr; ///< `home` while the thread is in a section; else null
    unsigned reader = 0;             ///< its RCU reader id
    bool own = false;                ///< it is the CPU's own thread, which owns the wait engine
};

thread_local constinit bh_self self;

void section_begin(softnet_data &sd) noexcept
{
    sd.lock->lock();
    self.section = &sd;
    if (!self.own) {
        rte_rcu_qsbr_thread_online(sd.rt->qsbr(), self.reader);
        if (sd.engine) {
            sd.engine->defer_requests(true);
        }
    }
    sd.now = sd.rt->now();
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
    if (!self.own) {
        if (sd.rps_ipi_waiting) {
            sd.send_rps_ipi(sd);
        }
        needed = own_thread_needed(sd);
        if (sd.engine) {
            sd.engine->defer_requests(false);
        }
        rte_rcu_qsbr_thread_offline(sd.rt->qsbr(), self.reader);
    }
    self.section = nullptr;
    sd.lock->unlock();
    if (needed) {
        kick_cpu(sd); // the CPU's own thread announces its sleep before it releases the lock
    }
}

} // namespace

void bh_self_set(softnet_data *home, bool own, unsigned reader) noexcept
{
    const bool always = home && !mode_is_big(*home);
    self = {.home = home, .section = always ? home : nullptr, .reader = reader, .own = own};
}

softnet_data *this_bh_home() noexcept { return self.home; }

softnet_data *this_softnet_data() noexcept { return self.section; }

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
    assert(self.home && !in_hardirq());
    softnet_data &sd = *self.home;
    if (!self.section) {
        section_begin(sd);
    }
    ++sd.bh_disabled;
}

void local_bh_enable() noexcept
{
    assert(self.section && self.section->bh_disabled > 0 && !in_hardirq());
    softnet_data &sd = *self.section;
    if (sd.bh_disabled == 1 && !sd.serving_softirq && sd.softirq_pending != 0) {
        sd.now = sd.rt->now();
        if (do_softirq(sd)) { // bottom halves are still disabled here, so that a handler's own section is nested
            wakeup_softirqd(sd);
        }
    }
    if (--sd.bh_disabled == 0 && mode_is_big(sd) && !sd.in_turn && !sd.serving_softirq) {
        section_end(sd);
    }
}

bool in_hardirq() noexcept { return self.section && self.section->hardirq; }

bool in_serving_softirq() noexcept { return self.section && self.section->serving_softirq; }

bool in_softirq() noexcept { return self.section && (self.section->serving_softirq || self.section->bh_disabled > 0); }

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
