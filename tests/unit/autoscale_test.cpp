// SPDX-License-Identifier: BSD-3-Clause
#include "fake_device.hpp"

#include <halfpoll/autoscaler.hpp>
#include <halfpoll/softnet_data.hpp>

#include <gtest/gtest.h>

#include <utility>
#include <vector>

namespace halfpoll
{

namespace
{

using enum autoscale_verdict;
constexpr ktime_t US = NSEC_PER_USEC, MS = NSEC_PER_MSEC;

/// A policy on a machine of four CPUs, with a clock that the test moves.
struct policy {
    autoscale_limits limits{.target = 200 * US, .min_cpus = 1, .low_percent = 50, .settle = 10 * MS};
    autoscale_history history;
    autoscale_sample seen{.now = 1000 * MS, .oldest = 0, .online = 4, .available = 4, .busy_percent = 0};

    autoscale_verdict after(ktime_t time)
    {
        seen.now += time;
        const autoscale_verdict verdict = autoscale_decide(history, limits, seen);
        seen.online += verdict == grow ? 1 : 0;
        seen.online -= verdict == shrink ? 1 : 0;
        return verdict;
    }
};

TEST(autoscale_policy, shrinks_one_at_a_time_when_it_has_been_calm)
{
    policy p;
    EXPECT_EQ(p.after(0), stay);
    EXPECT_EQ(p.after(9 * MS), stay);
    EXPECT_EQ(p.after(1 * MS), shrink);
    EXPECT_EQ(p.after(9 * MS), stay) << "the next one has to wait, too";
    EXPECT_EQ(p.after(1 * MS), shrink);
    EXPECT_EQ(p.after(10 * MS), shrink);
    EXPECT_EQ(p.seen.online, 1u);
    EXPECT_EQ(p.after(1000 * MS), stay) << "min_cpus";
}

TEST(autoscale_policy, does_not_shrink_if_the_others_would_be_busy)
{
    policy p;
    p.seen.busy_percent = 150; // three CPUs at 50 %
    for (int i = 0; i < 10; ++i) {
        EXPECT_EQ(p.after(10 * MS), stay);
    }
    p.seen.busy_percent = 149;
    EXPECT_EQ(p.after(0), stay);
    EXPECT_EQ(p.after(10 * MS), shrink);
}

TEST(autoscale_policy, calm_that_is_interrupted_begins_anew)
{
    policy p;
    EXPECT_EQ(p.after(0), stay);
    p.seen.oldest = 101 * US; // more than half of the target
    EXPECT_EQ(p.after(9 * MS), stay);
    p.seen.oldest = 100 * US;
    EXPECT_EQ(p.after(1 * MS), stay);
    EXPECT_EQ(p.after(9 * MS), stay);
    EXPECT_EQ(p.after(1 * MS), shrink);
}

TEST(autoscale_policy, grows_by_age_not_by_utilisation)
{
    policy p;
    p.seen.online = 1;
    p.seen.busy_percent = 99;
    p.seen.oldest = 200 * US;
    for (int i = 0; i < 10; ++i) {
        EXPECT_EQ(p.after(10 * MS), stay) << "busy, and nobody waits too long";
    }
    p.seen.busy_percent = 10;
    p.seen.oldest = 201 * US;
    EXPECT_EQ(p.after(0), grow);
    EXPECT_EQ(p.after(100 * US), stay) << "it has not taken effect yet";
    EXPECT_EQ(p.after(100 * US), grow);
    EXPECT_EQ(p.after(200 * US), grow);
    EXPECT_EQ(p.after(200 * US), stay) << "there are no more";
}

TEST(autoscale_policy, growing_and_shrinking_do_not_alternate)
{
    policy p;
    p.seen.online = 1;
    unsigned changes = 0;
    for (int i = 0; i < 1000; ++i) { // a burst every 5 ms, which is half of `settle`
        p.seen.oldest = i % 5 == 0 ? 300 * US : 0;
        changes += p.after(1 * MS) != stay;
    }
    EXPECT_EQ(changes, 3u);
    EXPECT_EQ(p.seen.online, 4u);
}

TEST(autoscale_policy, off_means_all)
{
    policy p;
    p.limits.target = 0;
    EXPECT_EQ(p.after(1000 * MS), stay);
    p.seen.online = 2;
    EXPECT_EQ(p.after(0), grow);
    EXPECT_EQ(p.after(0), grow);
    EXPECT_EQ(p.after(1000 * MS), stay);
    EXPECT_EQ(p.seen.online, 4u);
}

TEST(autoscale_policy, min_cpus_come_back_without_load)
{
    policy p;
    p.seen.online = 1;
    p.limits.min_cpus = 3;
    EXPECT_EQ(p.after(0), grow);
    EXPECT_EQ(p.after(200 * US), grow);
    EXPECT_EQ(p.after(1000 * MS), stay);
    EXPECT_EQ(p.seen.online, 3u);
}

class autoscaler_test : public testing::Test
{
protected:
    /// Looks until `online` CPUs are online; returns whether that happened.
    bool comes_to(unsigned online)
    {
        return eventually([&] {
            if (scaler.due() <= rt.now()) {
                scaler.look();
            }
            return rt.num_online_cpus() == online;
        });
    }
    void behind(unsigned cpu, ktime_t since)
    {
        rt.call_on(cpu, [&](softnet_data &sd) { sd.stats.behind_since = since; });
    }
    runtime rt{runtime_options{.cpus = std::vector<cpu_options>(3)}};
    autoscaler scaler{rt};
    const autoscale_limits limits{.target = 200 * US, .min_cpus = 1, .low_percent = 50, .settle = 10 * MS};
};

TEST_F(autoscaler_test, is_off_until_it_is_told)
{
    EXPECT_EQ(scaler.due(), KTIME_MAX);
    scaler.set(limits);
    EXPECT_LT(scaler.due(), KTIME_MAX);
    autoscale_limits wrong = limits;
    wrong.min_cpus = 4;
    EXPECT_THROW(scaler.set(wrong), error);
    EXPECT_EQ(scaler.limits(), limits);
}

TEST_F(autoscaler_test, parks_and_brings_back)
{
    std::vector<std::pair<unsigned, bool>> changes;
    scaler.on_change = [&](unsigned cpu, bool online) { changes.emplace_back(cpu, online); };
    scaler.set(limits);
    EXPECT_TRUE(comes_to(1));
    EXPECT_TRUE(scaler.has_parked(1) && scaler.has_parked(2));
    behind(0, rt.now() - 300 * US);
    EXPECT_TRUE(comes_to(3));
    behind(0, 0);
    using change = std::pair<unsigned, bool>;
    EXPECT_EQ(changes, (std::vector<change>{{2, false}, {1, false}, {1, true}, {2, true}}));
    EXPECT_TRUE(comes_to(1));
    scaler.set({}); // off: all CPUs return
    EXPECT_TRUE(comes_to(3));
    EXPECT_EQ(scaler.due(), KTIME_MAX);
}

TEST_F(autoscaler_test, leaves_alone_what_somebody_else_decides)
{
    rt.cpu_down(1);
    scaler.leave_alone(1, true);
    scaler.leave_alone(2, true);
    scaler.set(limits);
    EXPECT_TRUE(comes_to(1)) << "CPU 0 may go";
    EXPECT_TRUE(scaler.has_parked(0));
    behind(2, rt.now() - 300 * US);
    EXPECT_TRUE(comes_to(2));
    scaler.look();
    EXPECT_FALSE(rt.cpu_online(1));
}

TEST_F(autoscaler_test, a_refusal_is_told_and_tried_again)
{
    bool refuse = true;
    unsigned warnings = 0;
    rt.cpuhp_setup_state({.name = "test", .offline = [&](unsigned) {
                              if (refuse) {
                                  throw error("no");
                              }
                          }});
    scaler.warn = [&](const std::string &what) {
        EXPECT_EQ(what, "autoscale: runtime CPU 2 stays online: test: no");
        refuse = ++warnings < 2;
    };
    scaler.set(limits);
    EXPECT_TRUE(comes_to(1));
    EXPECT_EQ(warnings, 2u);
}

TEST_F(autoscaler_test, a_cpu_that_could_not_leave_again_is_parked_no_more)
{
    bool refuse = false;
    const auto may_refuse = [&](unsigned) {
        if (refuse) {
            throw error("no");
        }
    };
    rt.cpuhp_setup_state({.name = "test", .offline = may_refuse});
    rt.cpuhp_setup_state({.name = "more", .online = may_refuse});
    unsigned warnings = 0;
    scaler.warn = [&](const std::string &) { ++warnings; };
    scaler.set(limits);
    ASSERT_TRUE(comes_to(1));
    refuse = true;
    behind(0, rt.now() - 300 * US);
    ASSERT_TRUE(comes_to(2));
    EXPECT_EQ(warnings, 1u);
    EXPECT_FALSE(scaler.has_parked(1));
}

} // namespace

} // namespace halfpoll
