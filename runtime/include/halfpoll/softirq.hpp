// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/ktime.hpp>

#include <cstdint>

namespace halfpoll
{

struct softnet_data;

/// The kernel's ten vectors, lowest number first served (kernel/softirq).
enum softirq_vec : unsigned {
    HI_SOFTIRQ,
    TIMER_SOFTIRQ,
    NET_TX_SOFTIRQ,
    NET_RX_SOFTIRQ,
    BLOCK_SOFTIRQ,
    IRQ_POLL_SOFTIRQ,
    TASKLET_SOFTIRQ,
    SCHED_SOFTIRQ,
    HRTIMER_SOFTIRQ,
    RCU_SOFTIRQ,
    NR_SOFTIRQS
};

/// Row names of /proc/softirqs.
extern const char *const softirq_to_name[NR_SOFTIRQS];

/// A handler takes no work: it finds it in the CPU's state.
using softirq_action = void (*)(softnet_data &) noexcept;

inline constexpr ktime_t MAX_SOFTIRQ_TIME = 2 * NSEC_PER_MSEC;
inline constexpr unsigned MAX_SOFTIRQ_RESTART = 10;

// What follows belongs to bottom-half threads: the CPU's own (`hp/N`) and, not in mode `exclusive`, `ksoftirqd/N`,
// `irq_work/N` and those that hold a cpu_attachment. "In a section" means: between local_bh_disable() and
// local_bh_enable(), in a softirq, or in what the CPU's own thread calls (events, timers, call_on()).

/// Sets the bit and wakes nobody. In a section; only where an exit point is certain to look at the mask again. A raise
/// during dispatch, of the running vector too, is served in a later pass.
inline void __raise_softirq_irqoff(softnet_data &sd, softirq_vec vec) noexcept;
/// Sets the bit, and wakes ksoftirqd unless in_interrupt(), where an exit point follows. In a section.
void raise_softirq_irqoff(softnet_data &sd, softirq_vec vec) noexcept;
/// Any thread. In a section of that CPU it is raise_softirq_irqoff(). From elsewhere the CPU is asked, by its doorbell
/// if it sleeps, to raise it itself: only a CPU's section touches its mask. Allocates nothing.
void raise_softirq(softnet_data &sd, softirq_vec vec) noexcept;

/// Where the calling thread is. False on threads that are in no section.
bool in_hardirq() noexcept;         ///< in an irq_work of the raised list
bool in_serving_softirq() noexcept; ///< in a softirq handler
bool in_softirq() noexcept;         ///< in a softirq handler, or bottom halves are disabled
bool in_interrupt() noexcept;       ///< in_hardirq() or in_softirq()
bool in_task() noexcept;            ///< neither in_hardirq() nor in_serving_softirq(); bottom halves may be disabled

/// Bottom halves off on the caller's CPU; nests. Bottom-half threads only, not in_hardirq(). In mode `big` the
/// outermost takes the CPU's lock, so that the CPU's data is the caller's until local_bh_enable(); in `exclusive` it is
/// already.
void local_bh_disable() noexcept;
/// The outermost serves what is pending, up to do_softirq()'s limits, and leaves what remains to ksoftirqd.
void local_bh_enable() noexcept;

/// Serves pending vectors until none is left, 2 ms have passed or 10 passes were made. In a section, not nested,
/// `sd.now` fresh. True if something is still pending: the caller wakes ksoftirqd, or plays it and calls again after
/// its other duties.
bool do_softirq(softnet_data &sd) noexcept;

/// Makes somebody serve what is pending: `ksoftirqd/N` where it exists. Without one the CPU's own thread plays
/// ksoftirqd in its loop, where the embedder's calls get their turn between two dispatches. In a section.
void wakeup_softirqd(softnet_data &sd) noexcept;

} // namespace halfpoll
