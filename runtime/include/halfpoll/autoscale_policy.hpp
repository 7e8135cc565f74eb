// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/ktime.hpp>

namespace halfpoll
{

/// What decides how many CPUs work. Times in ns.
struct autoscale_limits {
    ktime_t target = 0;            ///< a packet that waits longer brings a CPU back; 0: all CPUs work
    unsigned min_cpus = 1;         ///< never fewer
    unsigned low_percent = 50;     ///< a CPU may go if the others are busy less than that with all of the work
    ktime_t settle = NSEC_PER_SEC; ///< and if that has been so for this long
    bool operator==(const autoscale_limits &) const = default;
};

/// What was seen since the last look.
struct autoscale_sample {
    ktime_t now = 0;
    ktime_t oldest = 0;        ///< the longest that a packet has been waiting, at most
    unsigned online = 0;       ///< CPUs that work
    unsigned available = 0;    ///< that may
    unsigned busy_percent = 0; ///< sum over CPUs: 150 is one and a half
};

struct autoscale_history {
    ktime_t calm_since = KTIME_MAX; ///< KTIME_MAX: it is not
    ktime_t grown_at = 0;           ///< when the last CPU came back
};

enum class autoscale_verdict { stay, grow, shrink };

/// Whether a CPU comes back or goes, and the new history. Grows by age of the oldest packet, not by utilisation: a core
/// at 95 % without a queue is well used. After a CPU has come back it waits for `target`, in which that takes effect.
/// Shrinks only when packets have waited for less than half of the target, and the remaining CPUs have had time to
/// spare, throughout `settle`; one CPU at a time. A pure function: no clock, no thread.
autoscale_verdict autoscale_decide(autoscale_history &history, const autoscale_limits &limits,
                                   const autoscale_sample &sample) noexcept;

} // namespace halfpoll
