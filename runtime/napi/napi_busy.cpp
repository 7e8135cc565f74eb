// SPDX-License-Identifier: BSD-3-Clause
#include <halfpoll/napi.hpp>
#include <halfpoll/runtime_env.hpp>

#include "napi_internal.hpp"
#include "runtime/base/race_point.hpp"
#include "runtime/cpu/bh_thread.hpp"
#include "runtime/trace/trace_emit.hpp"

namespace halfpoll
{

namespace
{

/// Tries to take ownership for busy polling. `prefer` asks the current owner, if there is one, to release.
bool busy_acquire(napi_struct &napi, bool prefer) noexcept
{
    constexpr std::uint32_t busy = NAPIF_STATE_DISABLE | NAPIF_STATE_SCHED | NAPIF_STATE_IN_BUSY_POLL;
    std::uint32_t val = napi.state.load(std::memory_order_relaxed);
    HALFPOLL_RACE_POINT(napi_busy_loaded, &napi);
    // acq_rel; pairs with napi_release() and napi_schedule_prep().
    if (!(val & busy) && napi.state.compare_exchange_strong(val, val | NAPIF_STATE_SCHED | NAPIF_STATE_IN_BUSY_POLL,
                                                            std::memory_order_acq_rel, std::memory_order_relaxed)) {
        return true;
    }
    if (prefer) {
        napi.state.fetch_or(NAPIF_STATE_PREFER_BUSY_POLL, std::memory_order_acq_rel); // pairs with napi_release()
    }
    return false;
}

/// Ends busy polling with one more poll, in which the poll function completes and unmasks.
void busy_stop(napi_struct &napi, bool prefer, int budget) noexcept
{
    // Clears MISSED first: an event from here on sets it again, and the completion sees it. Both pair with
    // napi_schedule_prep().
    napi.state.fetch_and(~NAPIF_STATE_MISSED, std::memory_order_acq_rel);
    napi.state.fetch_and(~NAPIF_STATE_IN_BUSY_POLL, std::memory_order_acq_rel);
    ktime_t timeout = 0;
    if (prefer) {
        napi.defer_hard_irqs_count = napi.config.napi_defer_hard_irqs;
        timeout = napi.defer_hard_irqs_count > 0 ? napi.config.gro_flush_timeout : 0;
    }
    const int work = napi_call_poll(napi, budget);
    if (napi.completed) {
        return;
    }
    if (work < budget || timeout == 0) { // it spins on, or has more packets
        __napi_schedule(napi);
        return;
    }
    napi.sd->timers.start(napi.timer, napi.sd->now + timeout); // before the release: the timer schedules it again
    // Pairs with napi_schedule_prep().
    napi.state.fetch_and(~(NAPIF_STATE_SCHED | NAPIF_STATE_MISSED), std::memory_order_acq_rel);
}

} // namespace

bool napi_busy_loop(napi_struct &napi, bool (*end)(void *ctx), void *ctx, bool prefer, int budget) noexcept
{
    softnet_data &sd = *napi.sd;
    local_lock bh(sd);
    assert(!sd.serving_softirq);
    bool owned = false;
    bool ever = false;
    for (;;) {
        if (!owned) {
            owned = busy_acquire(napi, prefer);
            ever |= owned;
        }
        if (owned) {
            sd.now = sd.env->now();
            const int work = napi_call_poll(napi, budget);
            if (trace_enabled()) {
                trace_napi_poll(napi, work, budget);
            }
            if (napi.state.load(std::memory_order_relaxed) & NAPIF_STATE_DISABLE) {
                busy_stop(napi, prefer, budget);
                owned = false;
            }
        }
        if (end(ctx)) {
            break;
        }
        cpu_turn(sd); // the CPU's other duties, as the kernel's loop lets softirqs run between polls
    }
    if (owned) {
        busy_stop(napi, prefer, budget);
    }
    return ever;
}

void napi_suspend_irqs(napi_struct &napi) noexcept
{
    if (napi.config.irq_suspend_timeout > 0) {
        napi.sd->timers.start(napi.timer, napi.sd->now + napi.config.irq_suspend_timeout);
    }
}

void napi_resume_irqs(napi_struct &napi) noexcept
{
    if (napi.config.irq_suspend_timeout > 0) {
        napi_schedule(napi);
    }
}

} // namespace halfpoll
