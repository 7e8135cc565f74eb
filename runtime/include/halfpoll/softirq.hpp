// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/ktime.hpp>

#include <cstdint>

namespace halfpoll
{

struct softnet_data;

/// The kernel's ten vectors; the lowest number is served first (kernel/softirq.c).
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

/// The row names of /proc/softirqs, by vector.
extern const char *const softirq_to_name[NR_SOFTIRQS];

/// The handler of a vector. It gets no work as an argument, and finds it in the CPU's state. Runs in a section.
using softirq_action = void (*)(softnet_data &) noexcept;

/// The limits of one do_softirq(): time in ns, and passes.
inline constexpr ktime_t MAX_SOFTIRQ_TIME = 2 * NSEC_PER_MSEC;
inline constexpr unsigned MAX_SOFTIRQ_RESTART = 10;

// A bottom-half thread of a CPU is its own thread (`hp/N`) and, except in mode `exclusive`, `ksoftirqd/N`,
// `irq_work/N`, `napi/NAME`, `backlog_napi/N` and threads with a cpu_attachment. "In a section" means: between
// local_bh_disable() and local_bh_enable(), in a softirq, or in a function that the CPU's own thread calls (events,
// timers, call_on()).

/// Makes a vector pending and wakes no thread. In a section, and only where the mask is certain to be checked
/// afterwards. A raise during a dispatch, even of the running vector, is served in a later pass.
inline void __raise_softirq_irqoff(softnet_data &sd, softirq_vec vec) noexcept;
/// Makes a vector pending. Wakes ksoftirqd unless in_interrupt(), whose end checks the mask. In a section.
void raise_softirq_irqoff(softnet_data &sd, softirq_vec vec) noexcept;
/// Any thread. In a section of that CPU: raise_softirq_irqoff(). From elsewhere: asks the CPU, by its doorbell if it
/// sleeps, to raise the vector itself, since only a CPU's own sections touch its mask. Allocates nothing.
void raise_softirq(softnet_data &sd, softirq_vec vec) noexcept;

// The context of the calling thread. On a thread that is in no section, only in_task() is true.
bool in_hardirq() noexcept;         ///< in an irq_work callback of the raised list
bool in_serving_softirq() noexcept; ///< in a softirq handler
bool in_softirq() noexcept;         ///< in a softirq handler, or bottom halves are disabled
bool in_interrupt() noexcept;       ///< in_hardirq() or in_softirq()
bool in_task() noexcept;            ///< neither in_hardirq() nor in_serving_softirq(); bottom halves may be disabled

/// Disables bottom halves on the caller's CPU; nests. Bottom-half threads only, not in_hardirq(). Except in mode
/// `exclusive`, where the CPU's data always belongs to the caller, the outermost call takes the CPU's lock, and the
/// data belongs to the caller until local_bh_enable().
void local_bh_disable() noexcept;
/// The outermost call serves pending vectors, up to do_softirq()'s limits, and leaves the rest to ksoftirqd.
void local_bh_enable() noexcept;

/// Serves pending vectors until none is pending, 2 ms have passed, 10 passes were made, or 100 us have passed and a
/// call from another thread waits. In a section, not in a softirq, with `sd.now` fresh. True if a vector is still
/// pending: the caller wakes ksoftirqd, or calls again after its other duties.
bool do_softirq(softnet_data &sd) noexcept;

/// Has pending vectors served: wakes `ksoftirqd/N`. Without that thread it does nothing, since the loop of the CPU's
/// own thread serves them, and runs the embedder's calls between two dispatches. In a section.
void wakeup_softirqd(softnet_data &sd) noexcept;

} // namespace halfpoll
