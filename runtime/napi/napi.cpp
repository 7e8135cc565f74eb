// SPDX-License-Identifier: BSD-3-Clause
#include <halfpoll/local_lock.hpp>
#include <halfpoll/napi.hpp>
#include <halfpoll/runtime_env.hpp>

#include "napi_internal.hpp"
#include "napi_thread.hpp"
#include "runtime/base/container_of.hpp"
#include "runtime/base/race_point.hpp"
#include "runtime/softirq/poll_list.hpp"
#include "runtime/softirq/remote.hpp"

namespace halfpoll
{

bool napi_schedule_prep(napi_struct &napi) noexcept
{
    std::uint32_t val = napi.state.load(std::memory_order_relaxed);
    std::uint32_t next;
    do {
        HALFPOLL_RACE_POINT(napi_prep_loaded, &napi);
        if (val & NAPIF_STATE_DISABLE) {
            return false;
        }
        next = val | NAPIF_STATE_SCHED;
        if (val & NAPIF_STATE_SCHED) {
            next |= NAPIF_STATE_MISSED; // the owner may have polled the device for the last time
        }
        // Always a write, so that the owner, when it releases, sees what the caller wrote before (acq_rel; pairs with
        // itself and with napi_release()).
    } while (!napi.state.compare_exchange_weak(val, next, std::memory_order_acq_rel, std::memory_order_relaxed));
    return !(val & NAPIF_STATE_SCHED);
}

void __napi_schedule(napi_struct &napi) noexcept
{
    // THREADED does not change while the caller owns the instance. A backlog that is scheduled on its home CPU is
    // polled there in NET_RX, even if it is THREADED, and at the same cost as one that is not.
    const auto threaded = [&] { return (napi.state.load(std::memory_order_relaxed) & NAPIF_STATE_THREADED) != 0; };
    if (this_softnet_data() == napi.sd) {
        if (&napi == napi.sd->backlog || !threaded()) {
            napi_enqueue(*napi.sd, napi);
            return;
        }
    } else if (!threaded()) {
        napi_enqueue_remote(*napi.sd, napi);
        return;
    }
    napi_thread_schedule(napi);
}

bool napi_schedule(napi_struct &napi) noexcept
{
    if (!napi_schedule_prep(napi)) {
        return false;
    }
    __napi_schedule(napi);
    return true;
}

int napi_call_poll(napi_struct &napi, int budget) noexcept
{
    HALFPOLL_LOCK_CHECK(expect_none("a poll"));
    if (napi.polling_unmasked) {
        napi_mask_irq(napi); // it was scheduled, but not by its event
    }
    napi.spinning = false;
    napi.completed = false;
    int work = napi.poll(napi, budget);
    if (work > budget) {
        stat_add(napi.stats.driver_errors);
        work = budget;
    }
    stat_add(napi.stats.polls);
    if (work > 0) {
        stat_add(napi.stats.packets, static_cast<unsigned>(work));
    } else {
        stat_add(napi.stats.empty_polls);
    }
    if (napi.scheduled_by_irq) {
        napi.scheduled_by_irq = false;
        if (work > 0) {
            napi.irq_proven = true;
            napi.park_misses = 0;
        } else {
            stat_add(napi.stats.spurious);
            napi_note_spurious(napi);
        }
    }
    return work;
}

bool napi_poll_full(napi_struct &napi, int work) noexcept
{
    napi_note_packets(napi);
    napi.drained = false;
    if (std::atomic<ktime_t> &since = napi.sd->stats.behind_since; since.load(std::memory_order_relaxed) == 0) {
        since.store(napi.sd->now, std::memory_order_relaxed);
    }
    if (napi.completed) {
        stat_add(napi.stats.driver_errors); // it completed and returned its budget: this context owns it no more
        return false;
    }
    const std::uint32_t state = napi.state.load(std::memory_order_relaxed);
    if (state & NAPIF_STATE_DISABLE) {
        napi_complete_done(napi, work); // so that a device that never runs dry does not hold up napi_disable()
        return false;
    }
    if (state & NAPIF_STATE_PREFER_BUSY_POLL) {
        if (napi_complete_done(napi, work)) {
            napi_schedule(napi); // released without a timer: nothing else schedules it again
        }
        return false;
    }
    return true;
}

void napi_note_packets(napi_struct &napi) noexcept
{
    if (napi.drained) {
        napi.history = hybrid_packets(napi.history, napi.sd->now);
    } else {
        napi.history.last_packet = napi.sd->now;
    }
}

bool napi_keeps_spinning(const napi_struct &napi, std::uint32_t state) noexcept
{
    if (state & (NAPIF_STATE_DISABLE | NAPIF_STATE_PREFER_BUSY_POLL)) {
        return false; // napi_disable() or a busy poller waits for ownership
    }
    if (napi.rung.load(std::memory_order_relaxed) == wait_rung::spin) {
        return true;
    }
    const ktime_t now = napi.sd->now;
    if (napi.config.busy_poll >= 0) {
        return now - napi.history.last_packet < napi.config.busy_poll * NSEC_PER_USEC;
    }
    return hybrid_keep_spinning(napi.history, napi.sd->env->options().hybrid, now);
}

namespace
{

/// Releases ownership, unless an event has come since it was taken; then the caller keeps it. True if released.
bool napi_release(napi_struct &napi) noexcept
{
    std::uint32_t val = napi.state.load(std::memory_order_relaxed);
    std::uint32_t next;
    do {
        HALFPOLL_RACE_POINT(napi_release_loaded, &napi);
        next =
            val & ~(NAPIF_STATE_MISSED | NAPIF_STATE_SCHED | NAPIF_STATE_SCHED_THREADED | NAPIF_STATE_PREFER_BUSY_POLL);
        if (val & NAPIF_STATE_MISSED) {
            next |= NAPIF_STATE_SCHED;
        }
        // acq_rel; pairs with napi_schedule_prep().
    } while (!napi.state.compare_exchange_weak(val, next, std::memory_order_acq_rel, std::memory_order_relaxed));
    HALFPOLL_RACE_POINT(napi_released, &napi);
    return !(val & NAPIF_STATE_MISSED);
}

} // namespace

bool napi_complete_done(napi_struct &napi, int work_done) noexcept
{
    const std::uint32_t state = napi.state.load(std::memory_order_relaxed);
    if (state & NAPIF_STATE_IN_BUSY_POLL) {
        return false;
    }
    if (work_done > 0) {
        napi_note_packets(napi);
        napi.defer_hard_irqs_count = napi.config.napi_defer_hard_irqs;
    }
    napi.drained = true;
    if (napi_keeps_spinning(napi, state)) {
        napi.spinning = true;
        return false;
    }
    ktime_t timeout = 0;
    if (napi.defer_hard_irqs_count > 0) {
        --napi.defer_hard_irqs_count;
        timeout = napi.config.gro_flush_timeout;
    }
    const bool released = napi_release(napi);
    napi.completed = true;
    if (!released) {
        stat_add(napi.stats.missed);
        __napi_schedule(napi);
        return false;
    }
    stat_add(napi.stats.completes);
    if (timeout == 0) {
        return true;
    }
    stat_add(napi.stats.deferred);
    napi.sd->timers.start(napi.timer, napi.sd->now + timeout);
    return false;
}

void napi_watchdog(hrtimer &timer) noexcept
{
    napi_struct &napi = HALFPOLL_CONTAINER_OF(timer, napi_struct, timer);
    std::uint32_t val = napi.state.load(std::memory_order_relaxed);
    do {
        HALFPOLL_RACE_POINT(napi_timer_loaded, &napi);
        if (val & (NAPIF_STATE_DISABLE | NAPIF_STATE_SCHED)) {
            return; // it has an owner, and the timer is no event of the device, so that MISSED is not set
        }
        // acq_rel; pairs with napi_release().
    } while (!napi.state.compare_exchange_weak(val, (val | NAPIF_STATE_SCHED) & ~NAPIF_STATE_PREFER_BUSY_POLL,
                                               std::memory_order_acq_rel, std::memory_order_relaxed));
    __napi_schedule(napi);
}

} // namespace halfpoll
