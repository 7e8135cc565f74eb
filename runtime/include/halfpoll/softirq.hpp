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

/// Owner thread only; there is no remote raise (see call_on() for that). A raise during dispatch, of the running
/// vector too, is served in a later pass.
inline void raise_softirq(softnet_data &sd, softirq_vec vec) noexcept;

/// Serves pending vectors until none is left, 2 ms have passed or 10 passes were made. Owner thread only, not nested.
/// True if something is still pending: the caller plays ksoftirqd and calls again after its other duties.
bool do_softirq(softnet_data &sd) noexcept;

} // namespace halfpoll
