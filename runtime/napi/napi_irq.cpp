// SPDX-License-Identifier: BSD-3-Clause
#include <halfpoll/runtime_env.hpp>

#include "napi_internal.hpp"
#include "runtime/base/container_of.hpp"
#include "runtime/base/race_point.hpp"
#include "runtime/trace/trace_emit.hpp"

#include <rte_atomic.h>

#include <algorithm>

namespace halfpoll
{

namespace
{

/// Parks in a row that find packets without an event before the instance leaves rung interrupt.
constexpr unsigned PARK_MISSES_MAX = 2;
/// How late an event may be, in ns: devices moderate their interrupts, Intel's by up to 16.8 ms (16 bits of 256 ns).
constexpr ktime_t PARK_GRACE = 20 * NSEC_PER_MSEC;
/// Events in a row without packets, within SPURIOUS_TIME ns, before the instance leaves rung interrupt (the kernel's
/// "nobody cared"). Single ones are harmless: they come from transmissions on the same vector, from queues that share
/// it, and from races.
constexpr unsigned SPURIOUS_MAX = 2000;
constexpr ktime_t SPURIOUS_TIME = NSEC_PER_SEC;
/// Parks of at least this length, in ns, end with a poll even if the device is silent: its pool may have been empty
/// when it last tried to get buffers, and full again when `starved` asked.
constexpr ktime_t PARK_POLLS = NSEC_PER_SEC;

void napi_start_timed_sleep(napi_struct &napi) noexcept
{
    napi.sd->timers.start(napi.timer, napi.sd->now + napi.timed_sleep);
}

/// Starts a park. A park that began starved ends with a poll, and so does the one after it: the device may lack buffers
/// although `starved` returns false, if its pool has filled since it last tried to get some.
void napi_start_park(napi_struct &napi) noexcept
{
    const bool starved = napi.irq->starved && napi.irq->starved(napi);
    ktime_t wait = napi.park_time;
    napi.park_suspect = false;
    napi.park_polls = starved || napi.refill_time != 0;
    if (napi.park_polls) {
        const ktime_t refill = hybrid_next_refill(napi.refill_time);
        napi.refill_time = starved ? refill : 0;
        wait = std::min(wait, refill);
    }
    napi.sd->timers.start(napi.park, napi.sd->now + wait);
}

void napi_wait_interrupt(napi_struct &napi) noexcept
{
    const int rc = napi.irq->enable(napi);
    if (rc < 0) {
        stat_add(napi.stats.driver_errors);
        napi_lower_rung(napi, wait_rung::timed, "the device refused to enable its interrupt");
        napi_start_timed_sleep(napi);
        return;
    }
    napi.polling_unmasked = true;
    napi.sd->engine->arm(napi.source);
    stat_add(napi.stats.unmasks);
    // The device sees the unmasking store before the ring is read again (Dekker; the device has its barrier between
    // publishing a packet and checking the mask). Drivers that unmask through shared memory have no barrier of their
    // own.
    rte_mb();
    HALFPOLL_RACE_POINT(napi_unmasked, &napi);
    if (napi.irq->pending(napi)) {
        // The packets came between the last poll and enable(). Many devices fire no event for them. The poll masks
        // again.
        napi_schedule(napi);
        return;
    }
    if (napi.park_time == 0) {
        napi.park_time = hybrid_next_park(0, napi.irq_proven);
    }
    napi_start_park(napi);
}

} // namespace

void napi_mask_irq(napi_struct &napi) noexcept
{
    if (!napi.polling_unmasked) {
        return;
    }
    napi.polling_unmasked = false;
    if (napi.irq->disable(napi) < 0) {
        stat_add(napi.stats.driver_errors);
    }
    if (napi.source.kind == source_kind::oneshot && napi.source.wanted) {
        napi.sd->engine->disarm(napi.source); // such a device has no other mask
    }
}

void napi_lower_rung(napi_struct &napi, wait_rung rung, const char *reason) noexcept
{
    napi_mask_irq(napi);
    if (napi.sd->engine && napi.source.fd >= 0) {
        napi.sd->engine->disarm(napi.source);
    }
    napi.rung.store(rung, std::memory_order_relaxed);
    napi.rung_reason.store(reason, std::memory_order_relaxed);
}

void napi_unmask_irq(napi_struct &napi) noexcept
{
    local_lock bh(*napi.sd);
    switch (napi.rung.load(std::memory_order_relaxed)) {
    case wait_rung::interrupt:
        if (napi.irq) {
            napi_wait_interrupt(napi);
        }
        break;
    case wait_rung::timed:
    case wait_rung::spin:
        // Rung spin: released for a busy poller or napi_disable(). If neither takes it, the timer schedules it again.
        napi_start_timed_sleep(napi);
        break;
    }
}

void napi_note_spurious(napi_struct &napi) noexcept
{
    const std::uint64_t packets = napi.stats.packets.load(std::memory_order_relaxed);
    if (napi.spurious_row == 0 || packets != napi.spurious_packets ||
        napi.sd->now - napi.spurious_since > SPURIOUS_TIME) {
        napi.spurious_row = 0;
        napi.spurious_packets = packets;
        napi.spurious_since = napi.sd->now;
    }
    if (++napi.spurious_row < SPURIOUS_MAX || napi.rung.load(std::memory_order_relaxed) != wait_rung::interrupt) {
        return;
    }
    napi.spurious_row = 0;
    napi_lower_rung(napi, wait_rung::timed, "the interrupt fires without packets, over and over");
    napi_schedule(napi); // it may be waiting for that interrupt
}

void napi_event(wait_source &source, int res) noexcept
{
    napi_struct &napi = HALFPOLL_CONTAINER_OF(source, napi_struct, source);
    stat_add(napi.stats.interrupts);
    if (trace_enabled()) {
        trace_irq_handler_entry(napi);
    }
    if (res < 0) {
        stat_add(napi.stats.driver_errors);
        napi_lower_rung(napi, wait_rung::timed, "waiting on the interrupt's fd failed");
    }
    if (!napi_schedule_prep(napi)) {
        return; // MISSED is set: the owner polls once more
    }
    napi_mask_irq(napi);
    napi.scheduled_by_irq = res >= 0;
    __napi_schedule(napi);
}

void napi_park_expired(hrtimer &timer) noexcept
{
    napi_struct &napi = HALFPOLL_CONTAINER_OF(timer, napi_struct, park);
    if (!napi.polling_unmasked) {
        return; // the instance does not wait for its interrupt; the next unmasking restarts the park
    }
    if (napi.park_polls) {
        napi_schedule(napi); // a starved device raises no interrupt
        return;
    }
    if (!napi.irq->pending(napi)) {
        const bool long_silent = napi.park_time >= PARK_POLLS;
        napi.park_time = hybrid_next_park(napi.park_time, napi.irq_proven);
        if (long_silent) {
            napi_schedule(napi);
        } else {
            napi_start_park(napi);
        }
        return;
    }
    if (!napi.park_suspect) {
        napi.park_suspect = true;
        napi.sd->timers.start(napi.park, napi.sd->now + PARK_GRACE);
        return;
    }
    stat_add(napi.stats.park_rescues);
    napi.park_time = 0;
    if (++napi.park_misses >= PARK_MISSES_MAX) {
        napi_lower_rung(napi, wait_rung::timed, "the interrupt never came: packets were found without it");
    }
    napi_schedule(napi);
}

} // namespace halfpoll
