// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <atomic>

namespace halfpoll
{

/// Places where another context may get in between; tests stop the code there to force a race.
enum class race_point {
    softirq_mask_cleared,   ///< do_softirq(): snapshot taken, mask cleared, handlers not yet run
    net_rx_all_polled,      ///< net_rx_action(): list is empty, flag still set
    napi_prep_loaded,       ///< napi_schedule_prep(): state read, not yet changed
    napi_timer_loaded,      ///< napi_watchdog(): state read, not yet changed
    napi_busy_loaded,       ///< napi_busy_loop(): state read, not yet changed
    napi_release_loaded,    ///< napi_complete_done(): state read, ownership not yet given up
    napi_released,          ///< napi_complete_done(): ownership given up, interrupt still masked
    napi_unmasked,          ///< napi_unmask_irq(): interrupt unmasked, device not yet looked at again
    napi_disable_announced, ///< napi_disable(): DISABLE set, ownership not yet taken
    idle_before_announce,   ///< cpu_idle(): nothing to do, not yet said
    idle_announced,         ///< cpu_idle(): `sleeping` set, lists not yet looked at again
    idle_before_block,      ///< cpu_idle(): looked again, about to block
    tasklet_running,        ///< tasklet: RUN taken, `count` not yet looked at
    tasklet_started,        ///< tasklet: SCHED cleared, callback not yet called
    work_started,           ///< workqueue: PENDING cleared, callback not yet called
    work_ended,             ///< workqueue: callback has returned, RUNNING not yet cleared
    irq_work_started,       ///< irq_work: PENDING cleared, callback not yet called
    irq_work_ended,         ///< irq_work: callback has returned, BUSY not yet cleared
    napi_thread_idle,       ///< napi thread: owns nothing, not yet asleep
    napi_thread_given,      ///< SCHED_THREADED set, the thread not yet woken
    backlog_unchecked,      ///< producer: published, has not yet looked whether the target looks
    backlog_unannounced,    ///< backlog: released, has not yet said that nobody looks
    backlog_announced,      ///< backlog: has said so, and not yet looked again
    irq_work_listed,        ///< irq_work: on the lazy list, `irq_work/N` not yet woken
};

#ifdef HALFPOLL_RACE_POINTS
using race_hook = void (*)(race_point where, void *object) noexcept;
/// Set by a test before the threads that meet it exist or while they are parked; acquire and release pair with each
/// other.
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
