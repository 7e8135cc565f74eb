// SPDX-License-Identifier: BSD-3-Clause
//
// wait_rung and hybrid_limits are part of the API, as parts of napi_struct and runtime_options; the other declarations
// are not.
#pragma once

#include <halfpoll/ktime.hpp>

#include <cstdint>

namespace halfpoll
{

/// How a queue waits for its next packet: the rungs of a ladder, from the one that costs least CPU time down to the one
/// that every device permits.
enum class wait_rung : std::uint8_t {
    interrupt, ///< the instance leaves the poll list; the device's interrupt schedules it again
    timed,     ///< a timer schedules the instance again, before the ring can overflow at line rate
    spin,      ///< the instance stays on the poll list
};

/// "interrupt", "timed", "spin".
const char *to_string(wait_rung rung) noexcept;

/// Limits of the adaptive spin, in ns.
struct hybrid_limits {
    ktime_t sleep_cost = 20 * NSEC_PER_USEC; ///< the cost of one sleep and wake-up
    ktime_t max_spin = 100 * NSEC_PER_USEC;  ///< the longest spin without a packet
};

/// The history of one queue's adaptive spin. A queue spins for about as long as a sleep costs, and only while recent
/// gaps between packets make it likely that a packet comes within that time (ski rental; Karlin et al. 1990, and what
/// Seastar does for its reactor). The functions below are pure functions of the history: no clock, no device, no
/// thread.
///
/// The owner calls hybrid_packets() after a poll that found packets where the one before had drained the queue, and
/// hybrid_keep_spinning() after an empty poll.
struct hybrid_history {
    ktime_t last_packet = 0;              ///< the time of the last poll with packets
    ktime_t gap_estimate = KTIME_MAX / 4; ///< smoothed gap between a poll that drained the queue and the next packet
};

/// Records that a poll at `now` found packets after the queue had been empty. Returns the new history.
hybrid_history hybrid_packets(hybrid_history history, ktime_t now) noexcept;

/// The decision after an empty poll at `now`. True: poll again at once. False: complete, and wait on the queue's rung.
bool hybrid_keep_spinning(const hybrid_history &history, const hybrid_limits &limits, ktime_t now) noexcept;

/// The longest timed sleep, in ns, during which 64-byte frames at `line_rate_bps` (bit/s) fill no more than half of a
/// ring of `descriptors`; clamped to [1 us, 1 ms]. A `line_rate_bps` of 0 means unknown: 50 us.
ktime_t hybrid_timed_sleep(unsigned descriptors, std::uint64_t line_rate_bps) noexcept;

/// The length in ns of the next bounded park, which guards against a device that accepts the unmasking and never raises
/// its interrupt. `previous` 0: 10 ms. Else twice `previous`: up to 4 s if interrupts have been seen to work
/// (`proven`), else up to 1 s.
ktime_t hybrid_next_park(ktime_t previous, bool proven) noexcept;

/// The length in ns of the next park of a queue whose device lacks buffers. `previous` 0: 1 ms. Else twice `previous`,
/// up to 64 ms (the kernel's virtio_net waits half a second between its attempts).
ktime_t hybrid_next_refill(ktime_t previous) noexcept;

} // namespace halfpoll
