// SPDX-License-Identifier: BSD-3-Clause
#include <halfpoll/hrtimer.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <vector>

using namespace halfpoll;

namespace
{

struct probe : hrtimer {
    std::vector<ktime_t> *fired = nullptr;
    hrtimer_queue *again = nullptr; ///< if set, the timer restarts itself with an expiry in the past
};

void fire(hrtimer &t) noexcept
{
    auto &p = static_cast<probe &>(t);
    p.fired->push_back(t.expires);
    if (p.again) {
        p.again->start(p, 0);
    }
}

} // namespace

TEST(hrtimer, fires_in_order_of_expiry_and_not_early)
{
    hrtimer_queue q;
    std::vector<ktime_t> fired;
    std::vector<std::unique_ptr<probe>> timers;
    std::mt19937 rng(1);
    for (int i = 0; i < 1000; ++i) {
        auto p = std::make_unique<probe>();
        p->function = fire;
        p->fired = &fired;
        q.start(*p, static_cast<ktime_t>(rng() % 10000));
        timers.push_back(std::move(p));
    }
    for (int i = 0; i < 3000; ++i) { // restarts and cancels at random
        auto &p = *timers[rng() % timers.size()];
        if (rng() % 3 == 0) {
            q.cancel(p);
        } else {
            q.start(p, static_cast<ktime_t>(rng() % 10000));
        }
    }
    std::vector<ktime_t> expected;
    for (auto &p : timers) {
        if (p->active()) {
            expected.push_back(p->expires);
        }
    }
    std::sort(expected.begin(), expected.end());
    ASSERT_EQ(q.next_expiry(), expected.front());
    q.run_expired(4999);
    EXPECT_EQ(static_cast<long>(fired.size()),
              std::count_if(expected.begin(), expected.end(), [](ktime_t t) { return t <= 4999; }));
    q.run_expired(10000);
    EXPECT_EQ(fired, expected);
    EXPECT_EQ(q.next_expiry(), KTIME_MAX);
}

TEST(hrtimer, a_timer_that_restarts_in_the_past_runs_once_a_call)
{
    hrtimer_queue q;
    std::vector<ktime_t> fired;
    probe p;
    p.function = fire;
    p.fired = &fired;
    p.again = &q;
    q.start(p, 5);
    EXPECT_EQ(q.run_expired(10), 1U);
    EXPECT_TRUE(p.active());
    EXPECT_EQ(q.run_expired(10), 1U);
    EXPECT_TRUE(q.cancel(p));
    EXPECT_FALSE(q.cancel(p));
    EXPECT_EQ(q.run_expired(KTIME_MAX - 1), 0U);
}
