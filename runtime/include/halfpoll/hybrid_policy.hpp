// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/ktime.hpp>

#include <cstdint>

namespace halfpoll
{

/// How a queue waits for its next packet.
enum class wait_rung : std::uint8_t {
    interrupt, ///< leaves the poll list, the device's interrupt brings it back
    timed,     ///< sleeps at most as long as the ring can absorb line rate
    spin,      ///< stays on the poll list
};

const char *to_string(wait_rung rung) noexcept;

/// What the policy may decide on. Times in ns.
struct hybrid_limits {
    ktime_t sleep_cost = 20 * NSEC_PER_USEC; ///< what one sleep and wake costs here (measured at start)
    ktime_t max_spin = 100 * NSEC_PER_USEC;  ///< never spin longer than this without a packet
};

/// The adaptive spin of one queue: spin for about as long as a sleep costs, and only while recent gaps between
/// packets say that a spin of that length is likely to be rewarded (ski rental; Karlin et al. 1990, and what Seastar
/// does for its reactor). A pure function of the history fed to it: no clock, no device, no thread.
///
/// The owner calls hybrid_packets() after a poll that found packets where the one before had found none, and asks
/// hybrid_keep_spinning() after an empty poll.
struct hybrid_history {
    ktime_t last_packet = 0;              ///< when the last poll with packets was
    ktime_t gap_estimate = KTIME_MAX / 4; ///< smoothed gap between a poll that drained the queue and the next packet
};

/// Records that packets were found at `now` after the queue had been seen empty; returns the new history.
hybrid_history hybrid_packets(hybrid_history history, ktime_t now) noexcept;

/// After an empty poll at `now`: true = poll again at once, false = complete and wait on the queue's rung.
bool hybrid_keep_spinning(const hybrid_history &history, const hybrid_limits &limits, ktime_t now) noexcept;

/// The length of a timed sleep (ns) that a ring of `descriptors` survives at `line_rate_bps` of 64-byte frames, with
/// half the ring in reserve; clamped to [1 us, 1 ms].
ktime_t hybrid_timed_sleep(unsigned descriptors, std::uint64_t line_rate_bps) noexcept;

/// The bounded park that guards against interrupts that are accepted and never come: 10 ms at first, doubling to 4 s
/// once interrupts are seen to work (`proven`), else to 1 s.
ktime_t hybrid_next_park(ktime_t previous, bool proven) noexcept;

/// The park of a queue whose device lacks buffers: 1 ms at first, doubling to 64 ms (the kernel's virtio_net waits half
/// a second between its attempts).
ktime_t hybrid_next_refill(ktime_t previous) noexcept;

} // namespace halfpoll
