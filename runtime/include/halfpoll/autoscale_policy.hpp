// SPDX-License-Identifier: BSD-3-Clause
//
// autoscale_limits is part of the API, as the settings of class autoscaler; the other declarations are not.
#pragma once

#include <halfpoll/ktime.hpp>

namespace halfpoll
{

/// The settings that decide how many CPUs are online. Times are in ns.
struct autoscale_limits {
    ktime_t target = 0;            ///< a packet that waits longer brings a CPU online; 0: all CPUs are online
    unsigned min_cpus = 1;         ///< fewest CPUs that stay online
    unsigned low_percent = 50;     ///< a CPU may go offline if all the work would keep the others less busy than this
    ktime_t settle = NSEC_PER_SEC; ///< how long the load must have been that low
    bool operator==(const autoscale_limits &) const = default;
};

/// One observation of a runtime's CPUs. Times are in ns.
struct autoscale_sample {
    ktime_t now = 0;           ///< when it was taken
    ktime_t oldest = 0;        ///< upper bound of how long any packet has been waiting
    unsigned online = 0;       ///< CPUs that are online, without dedicated ones
    unsigned available = 0;    ///< those, and CPUs that the policy may bring online
    unsigned busy_percent = 0; ///< since the last sample, summed over all CPUs: 150 means one and a half CPUs
};

/// The policy's memory between two samples. Times are in ns.
struct autoscale_history {
    ktime_t calm_since = KTIME_MAX; ///< since when the load has been low; KTIME_MAX: it is not low
    ktime_t grown_at = 0;           ///< when the policy last brought a CPU online
};

enum class autoscale_verdict { stay, grow, shrink };

/// Decides whether one CPU goes online (grow) or offline (shrink), and updates `history`. It grows by the age of the
/// oldest packet, not by utilisation: a core that is 95 % busy without a queue is well used. After a grow, the next
/// one waits for `target`, so that the first can take effect. It shrinks only if, throughout `settle`, no packet has
/// waited for more than half of `target` and the remaining CPUs would have been less busy than `low_percent`.
/// A pure function: no clock, no thread.
autoscale_verdict autoscale_decide(autoscale_history &history, const autoscale_limits &limits,
                                   const autoscale_sample &sample) noexcept;

} // namespace halfpoll
