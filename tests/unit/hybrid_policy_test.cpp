// SPDX-License-Identifier: BSD-3-Clause
// The adaptive policy under a clock that the test moves.
#include <halfpoll/hybrid_policy.hpp>

#include <gtest/gtest.h>

using namespace halfpoll;

namespace
{

constexpr hybrid_limits limits{.sleep_cost = 20 * NSEC_PER_USEC, .max_spin = 100 * NSEC_PER_USEC};

/// Feeds `packets` packets, one every `gap`, beginning at `now`.
hybrid_history stream(hybrid_history h, ktime_t &now, ktime_t gap, int packets)
{
    for (int i = 0; i < packets; ++i) {
        now += gap;
        h = hybrid_packets(h, now);
    }
    return h;
}

/// How long the policy spins after the last packet.
ktime_t spin_time(const hybrid_history &h)
{
    ktime_t t = 0;
    while (t < NSEC_PER_SEC && hybrid_keep_spinning(h, limits, h.last_packet + t)) {
        t += NSEC_PER_USEC;
    }
    return t;
}

} // namespace

TEST(hybrid_policy, a_queue_that_never_had_packets_does_not_spin) { EXPECT_EQ(spin_time(hybrid_history{}), 0); }

TEST(hybrid_policy, a_trickle_does_not_spin)
{
    ktime_t now = NSEC_PER_SEC;
    EXPECT_EQ(spin_time(stream({}, now, 100 * NSEC_PER_MSEC, 50)), 0);
    EXPECT_EQ(spin_time(stream({}, now, NSEC_PER_MSEC, 50)), 0);
}

TEST(hybrid_policy, a_ping_pong_spins_through_its_gaps_after_some_ten_packets)
{
    ktime_t now = NSEC_PER_SEC;
    hybrid_history h = stream({}, now, 10 * NSEC_PER_USEC, 1);
    EXPECT_EQ(spin_time(h), 0) << "one packet proves nothing";
    h = stream(h, now, 10 * NSEC_PER_USEC, 11);
    EXPECT_GE(spin_time(h), 20 * NSEC_PER_USEC);
}

TEST(hybrid_policy, spins_about_as_long_as_a_sleep_costs_and_never_beyond_the_limit)
{
    ktime_t now = NSEC_PER_SEC;
    hybrid_history h = stream({}, now, 200, 100);
    EXPECT_GE(spin_time(h), limits.sleep_cost);
    EXPECT_LE(spin_time(h), limits.sleep_cost + 2 * NSEC_PER_USEC);
    h = stream({}, now, 90 * NSEC_PER_USEC, 100);
    EXPECT_EQ(spin_time(h), limits.max_spin);
}

TEST(hybrid_policy, stops_spinning_soon_after_a_stream_turns_into_a_trickle)
{
    ktime_t now = NSEC_PER_SEC;
    hybrid_history h = stream({}, now, NSEC_PER_USEC, 1000);
    ASSERT_GT(spin_time(h), 0);
    int packets = 0;
    while (spin_time(h) > 0) {
        h = stream(h, now, 10 * NSEC_PER_MSEC, 1);
        ASSERT_LT(++packets, 5);
    }
}

TEST(hybrid_policy, timed_sleep_leaves_half_the_ring)
{
    // 10 Gbit/s of 64-byte frames: 67.2 ns each; 512 of 1024 descriptors take 34.4 us.
    EXPECT_NEAR(static_cast<double>(hybrid_timed_sleep(1024, 10'000'000'000)), 34406, 10);
    EXPECT_EQ(hybrid_timed_sleep(4096, 1'000'000), NSEC_PER_MSEC);
    EXPECT_EQ(hybrid_timed_sleep(2, 400'000'000'000), NSEC_PER_USEC);
}

TEST(hybrid_policy, attempts_to_refill_become_rare)
{
    ktime_t park = hybrid_next_refill(0);
    EXPECT_EQ(park, NSEC_PER_MSEC);
    EXPECT_EQ(hybrid_next_refill(park), 2 * NSEC_PER_MSEC);
    for (int i = 0; i < 20; ++i) {
        park = hybrid_next_refill(park);
    }
    EXPECT_EQ(park, 64 * NSEC_PER_MSEC);
}

TEST(hybrid_policy, the_park_doubles_to_its_limit)
{
    ktime_t park = hybrid_next_park(0, false);
    EXPECT_EQ(park, 10 * NSEC_PER_MSEC);
    for (int i = 0; i < 20; ++i) {
        park = hybrid_next_park(park, false);
    }
    EXPECT_EQ(park, NSEC_PER_SEC);
    for (int i = 0; i < 5; ++i) {
        park = hybrid_next_park(park, true);
    }
    EXPECT_EQ(park, 4 * NSEC_PER_SEC);
}
