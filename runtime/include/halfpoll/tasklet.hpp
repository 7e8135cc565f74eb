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

/// A function that runs soon in a softirq (HI or TASKLET vector), never beside itself. Owned by the user, who keeps it
/// until tasklet_kill() has returned, and sets `func` before its first use.
struct tasklet_struct {
    tasklet_fn func = nullptr;
    std::atomic<std::uint32_t> state{0}; ///< read-modify-writes, acq_rel; each pairs with the others
    std::atomic<int> count{0};           ///< disabled if not 0; seq_cst against `state` (Dekker): tasklet_disable()
    tasklet_struct *next = nullptr;      ///< list linkage, of who set SCHED
    call_single_data call;               ///< to the CPU's list from elsewhere, of who set SCHED
};

/// The tasklets of one CPU and class, oldest first. In a section.
struct tasklet_head {
    tasklet_struct *head = nullptr;
    tasklet_struct *tail = nullptr;
};

/// Runs it once on that CPU, after this call began; on the caller's own CPU the kernel's tasklet_schedule(). Does
/// nothing if it is scheduled already and has not begun. Any thread. May be called from its own callback, which then
/// runs again; on another CPU than the one where it runs, it waits there until that has ended. Allocates nothing.
void tasklet_schedule(softnet_data &sd, tasklet_struct &t) noexcept;
/// The same before all tasklets scheduled with tasklet_schedule(), in vector HI.
void tasklet_hi_schedule(softnet_data &sd, tasklet_struct &t) noexcept;

/// Its callback does not start until as many tasklet_enable() calls; a scheduled one keeps its CPU busy meanwhile, as
/// in the kernel. Any thread.
void tasklet_disable_nosync(tasklet_struct &t) noexcept;
/// The same, and waits until a running callback has ended. Not from a softirq; sleeps.
void tasklet_disable(tasklet_struct &t);
/// Any thread.
void tasklet_enable(tasklet_struct &t) noexcept;
/// Waits until it has run, if it is scheduled, and has ended. Nobody may schedule it meanwhile. Hangs on one that is
/// scheduled and disabled. Not from a softirq; sleeps.
void tasklet_kill(tasklet_struct &t);

} // namespace halfpoll
