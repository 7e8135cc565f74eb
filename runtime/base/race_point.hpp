// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <atomic>

namespace halfpoll
{

/// Places in the code at which another context may interfere. Tests stop the code there to force a race.
enum class race_point {
    softirq_mask_cleared,   ///< do_softirq(): snapshot taken, mask cleared, handlers not yet run
    net_rx_all_polled,      ///< net_rx_action(): list empty, flag still set
    napi_prep_loaded,       ///< napi_schedule_prep(): state read, not yet changed
    napi_timer_loaded,      ///< napi_watchdog(): state read, not yet changed
    napi_busy_loaded,       ///< napi_busy_loop(): state read, not yet changed
    napi_release_loaded,    ///< napi_complete_done(): state read, ownership not yet given up
    napi_released,          ///< napi_complete_done(): ownership given up, interrupt still masked
    napi_unmasked,          ///< napi_unmask_irq(): interrupt unmasked, device not yet checked again
    napi_disable_announced, ///< napi_disable(): DISABLE set, ownership not yet taken
    idle_before_announce,   ///< sleep_unless(): nothing to do, sleep not yet announced
    idle_announced,         ///< sleep_unless(): `sleeping` set, lists not yet checked again
    idle_before_block,      ///< sleep_unless(): lists checked again, about to block
    tasklet_running,        ///< tasklet: RUN taken, `count` not yet checked
    tasklet_started,        ///< tasklet: SCHED cleared, callback not yet called
    work_started,           ///< workqueue: PENDING cleared, callback not yet called
    work_ended,             ///< workqueue: callback has returned, RUNNING not yet cleared
    irq_work_started,       ///< irq_work: PENDING cleared, callback not yet called
    irq_work_ended,         ///< irq_work: callback has returned, BUSY not yet cleared
    napi_thread_idle,       ///< napi thread: owns nothing, not yet asleep
    napi_thread_given,      ///< SCHED_THREADED set, the thread not yet woken
    backlog_unchecked,      ///< producer: published, target's announcement not yet checked
    backlog_unannounced,    ///< backlog: released, sleep not yet announced
    backlog_announced,      ///< backlog: sleep announced, rings not yet checked again
    irq_work_listed,        ///< irq_work: on the lazy list, `irq_work/N` not yet woken
};

#ifdef HALFPOLL_RACE_POINTS
using race_hook = void (*)(race_point where, void *object) noexcept;
/// A test sets it before the threads that reach race points exist, or while they are parked. The test's release pairs
/// with the acquire in race_point_reached().
inline std::atomic<race_hook> race_hook_fn{nullptr};

inline void race_point_reached(race_point where, void *object) noexcept
{
    if (race_hook fn = race_hook_fn.load(std::memory_order_acquire)) {
        fn(where, object);
    }
}
#define HALFPOLL_RACE_POINT(where, object) ::halfpoll::race_point_reached(::halfpoll::race_point::where, (object))
#else
#define HALFPOLL_RACE_POINT(where, object) static_cast<void>(0)
#endif

} // namespace halfpoll
