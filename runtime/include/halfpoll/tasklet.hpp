// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/call_single.hpp>

#include <atomic>
#include <cstdint>

namespace halfpoll
{

struct softnet_data;
struct tasklet_struct;

using tasklet_fn = void (*)(tasklet_struct &) noexcept;

enum tasklet_state : std::uint32_t {
    TASKLET_STATE_SCHED = 1U << 0, ///< on a CPU's list, or on its way there
    TASKLET_STATE_RUN = 1U << 1,   ///< its callback is running
};

/// A function that runs soon in a softirq (HI or TASKLET vector). It never runs twice at once. The user owns the
/// tasklet, keeps it until tasklet_kill() has returned, and sets `func` before its first use.
struct tasklet_struct {
    tasklet_fn func = nullptr;
    std::atomic<std::uint32_t> state{0}; ///< tasklet_state bits; read-modify-writes, each pairs with the others
    std::atomic<int> count{0};           ///< disabled if not 0; seq_cst against `state` (Dekker): tasklet_disable()
    tasklet_struct *next = nullptr;      ///< list linkage; belongs to the thread that set SCHED
    call_single_data call;               ///< takes it to another CPU's list; belongs to the thread that set SCHED
};

/// Schedules the tasklet to run once on the CPU of `sd` (on the caller's own CPU, the kernel's tasklet_schedule()).
/// Does nothing if it is scheduled already and has not started; the callback then sees what the caller wrote before. A
/// callback may schedule its own tasklet, which then runs again. If it still runs on another CPU, its next run waits
/// for the end of that one. Any thread; allocates nothing.
void tasklet_schedule(softnet_data &sd, tasklet_struct &t) noexcept;
/// tasklet_schedule() in vector HI, which is served before the tasklets of vector TASKLET.
void tasklet_hi_schedule(softnet_data &sd, tasklet_struct &t) noexcept;

/// Keeps the callback from starting until as many calls of tasklet_enable(). If the tasklet is scheduled meanwhile, its
/// CPU stays busy with it, as in the kernel; in mode `nested` it sleeps between its attempts. Any thread.
void tasklet_disable_nosync(tasklet_struct &t) noexcept;
/// tasklet_disable_nosync(), then waits until a running callback has returned. Sleeps; never called from a softirq.
void tasklet_disable(tasklet_struct &t);
/// Undoes one tasklet_disable() or tasklet_disable_nosync(). Any thread.
void tasklet_enable(tasklet_struct &t) noexcept;
/// Waits until the tasklet, if it is scheduled, has run, and its callback has returned. Other threads do not schedule
/// it meanwhile. Hangs if it is scheduled and disabled. Sleeps; never called from a softirq.
void tasklet_kill(tasklet_struct &t);

} // namespace halfpoll
