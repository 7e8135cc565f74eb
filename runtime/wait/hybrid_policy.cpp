// SPDX-License-Identifier: BSD-3-Clause
#include <halfpoll/hybrid_policy.hpp>

#include <algorithm>

namespace halfpoll
{

namespace
{

/// Longer gaps count as this one, in ns, so that the estimate follows within about ten packets when a silent queue
/// becomes busy.
constexpr ktime_t max_gap = 400 * NSEC_PER_USEC;

constexpr ktime_t min_timed_sleep = NSEC_PER_USEC;
constexpr ktime_t max_timed_sleep = NSEC_PER_MSEC;
constexpr std::uint64_t frame_bits_on_wire = (64 + 20) * 8; // preamble and gap included

constexpr ktime_t first_park = 10 * NSEC_PER_MSEC;
constexpr ktime_t max_park_unproven = NSEC_PER_SEC;
constexpr ktime_t max_park_proven = 4 * NSEC_PER_SEC;

constexpr ktime_t first_refill = NSEC_PER_MSEC;
constexpr ktime_t max_refill = 64 * NSEC_PER_MSEC;

} // namespace

const char *to_string(wait_rung rung) noexcept
{
    switch (rung) {
    case wait_rung::interrupt:
        return "interrupt";
    case wait_rung::timed:
        return "timed";
    case wait_rung::spin:
        return "spin";
    }
    return "?";
}

hybrid_history hybrid_packets(hybrid_history history, ktime_t now) noexcept
{
    const ktime_t gap = std::clamp<ktime_t>(now - history.last_packet, 0, max_gap);
    const ktime_t estimate = std::min(history.gap_estimate, max_gap);
    history.gap_estimate = estimate + (gap - estimate) / 4;
    history.last_packet = now;
    return history;
}

bool hybrid_keep_spinning(const hybrid_history &history, const hybrid_limits &limits, ktime_t now) noexcept
{
    if (history.gap_estimate > limits.max_spin) {
        return false;
    }
    const ktime_t window = std::min(limits.max_spin, limits.sleep_cost + 2 * history.gap_estimate);
    return now - history.last_packet < window;
}

ktime_t hybrid_timed_sleep(unsigned descriptors, std::uint64_t line_rate_bps) noexcept
{
    if (line_rate_bps == 0) {
        return 50 * NSEC_PER_USEC;
    }
    const double seconds =
        static_cast<double>(descriptors / 2) * frame_bits_on_wire / static_cast<double>(line_rate_bps);
    return std::clamp(static_cast<ktime_t>(seconds * NSEC_PER_SEC), min_timed_sleep, max_timed_sleep);
}

ktime_t hybrid_next_park(ktime_t previous, bool proven) noexcept
{
    const ktime_t limit = proven ? max_park_proven : max_park_unproven;
    return previous == 0 ? first_park : std::min(2 * previous, limit);
}

ktime_t hybrid_next_refill(ktime_t previous) noexcept
{
    return previous == 0 ? first_refill : std::min(2 * previous, max_refill);
}

} // namespace halfpoll
