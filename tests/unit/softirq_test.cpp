// SPDX-License-Identifier: BSD-3-Clause
#include <halfpoll/runtime.hpp>
#include <halfpoll/softnet_data.hpp>

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace halfpoll
{

namespace
{

std::vector<softirq_vec> served;

template <softirq_vec vec>
void record(softnet_data &) noexcept
{
    served.push_back(vec);
}

template <softirq_vec vec, softirq_vec next>
void record_and_raise(softnet_data &sd) noexcept
{
    served.push_back(vec);
    raise_softirq(sd, next);
}

class softirq : public testing::Test
{
protected:
    void SetUp() override { served.clear(); }

    /// Runs fn on the CPU and returns when the softirqs that it raised have been served.
    void run(const std::function<void(softnet_data &)> &fn)
    {
        rt.call_on(0, fn);
        rt.call_on(0, [](softnet_data &) {}); // calls run once per turn, before that turn's softirqs
    }

    runtime rt{runtime_options{}};
};

TEST_F(softirq, lowest_vector_first)
{
    rt.open_softirq(HI_SOFTIRQ, record<HI_SOFTIRQ>);
    rt.open_softirq(NET_TX_SOFTIRQ, record<NET_TX_SOFTIRQ>);
    rt.open_softirq(RCU_SOFTIRQ, record<RCU_SOFTIRQ>);
    run([](softnet_data &sd) {
        raise_softirq(sd, RCU_SOFTIRQ);
        raise_softirq(sd, HI_SOFTIRQ);
        raise_softirq(sd, NET_TX_SOFTIRQ);
    });
    EXPECT_EQ(served, (std::vector{HI_SOFTIRQ, NET_TX_SOFTIRQ, RCU_SOFTIRQ}));
    EXPECT_EQ(rt.cpu(0).stats.softirqs[RCU_SOFTIRQ].load(), 1u);
}

TEST_F(softirq, raised_by_a_handler_waits_for_the_next_pass)
{
    rt.open_softirq(TASKLET_SOFTIRQ, record_and_raise<TASKLET_SOFTIRQ, HI_SOFTIRQ>);
    rt.open_softirq(HI_SOFTIRQ, record<HI_SOFTIRQ>);
    rt.open_softirq(RCU_SOFTIRQ, record<RCU_SOFTIRQ>);
    run([](softnet_data &sd) {
        raise_softirq(sd, TASKLET_SOFTIRQ);
        raise_softirq(sd, RCU_SOFTIRQ);
    });
    EXPECT_EQ(served, (std::vector{TASKLET_SOFTIRQ, RCU_SOFTIRQ, HI_SOFTIRQ}));
}

TEST_F(softirq, ends_after_ten_passes)
{
    runtime_options options;
    options.clock = []() noexcept { return ktime_t{1}; }; // stands still: a preemption must not end it earlier
    runtime timeless(options);
    timeless.open_softirq(TASKLET_SOFTIRQ, record_and_raise<TASKLET_SOFTIRQ, TASKLET_SOFTIRQ>);
    bool more = false;
    timeless.call_on(0, [&](softnet_data &sd) {
        raise_softirq(sd, TASKLET_SOFTIRQ);
        more = do_softirq(sd);
        sd.softirq_pending = 0;
    });
    EXPECT_TRUE(more);
    EXPECT_EQ(served.size(), MAX_SOFTIRQ_RESTART);
    EXPECT_EQ(timeless.cpu(0).stats.ksoftirqd.load(), 1u);
}

TEST_F(softirq, ends_after_two_milliseconds)
{
    static ktime_t fake;
    fake = 1;
    runtime_options options;
    options.clock = []() noexcept { return fake; };
    runtime timed(options);
    timed.open_softirq(TASKLET_SOFTIRQ, [](softnet_data &sd) noexcept {
        served.push_back(TASKLET_SOFTIRQ);
        fake += NSEC_PER_MSEC;
        raise_softirq(sd, TASKLET_SOFTIRQ);
    });
    bool more = false;
    timed.call_on(0, [&](softnet_data &sd) {
        sd.now = fake;
        raise_softirq(sd, TASKLET_SOFTIRQ);
        more = do_softirq(sd);
        sd.softirq_pending = 0;
    });
    EXPECT_TRUE(more);
    EXPECT_EQ(served.size(), 2u);
}

TEST_F(softirq, a_timer_runs_on_its_cpu)
{
    static softnet_data *ran_on;
    ran_on = nullptr;
    hrtimer timer;
    timer.function = [](hrtimer &) noexcept { ran_on = this_softnet_data(); };
    rt.call_on(0, [&](softnet_data &sd) { sd.timers.start(timer, sd.env->now() + NSEC_PER_MSEC); });
    const ktime_t limit = ktime_get() + 5 * NSEC_PER_SEC;
    bool active = true;
    while (active && ktime_get() < limit) {
        rt.call_on(0, [&](softnet_data &) { active = timer.active(); });
    }
    EXPECT_EQ(ran_on, &rt.cpu(0));
}

TEST(runtime, call_on_runs_there_and_rethrows)
{
    runtime rt(runtime_options{.cpus = std::vector<cpu_options>(2)});
    ASSERT_EQ(rt.cpus(), 2u);
    for (unsigned cpu = 0; cpu < 2; ++cpu) {
        softnet_data *where = nullptr;
        rt.call_on(cpu, [&](softnet_data &sd) { where = this_softnet_data() == &sd ? &sd : nullptr; });
        EXPECT_EQ(where, &rt.cpu(cpu));
    }
    EXPECT_THROW(rt.call_on(1, [](softnet_data &) { throw error("from the CPU"); }), error);
    EXPECT_EQ(this_softnet_data(), nullptr);
}

TEST(runtime, call_on_from_a_bottom_half_thread_is_refused)
{
    runtime rt(runtime_options{});
    EXPECT_THROW(rt.call_on(0, [&](softnet_data &) { rt.call_on(0, [](softnet_data &) {}); }), error);
}

TEST(runtime, refuses_what_it_cannot_do)
{
    EXPECT_THROW(runtime(runtime_options{.cpus = {}}), error);
    EXPECT_THROW(runtime(runtime_options{.cpus = {cpu_options{.affinity = 1023}}}), error);
    EXPECT_THROW(runtime(runtime_options{.netdev_budget = 0}), error);
}

TEST(runtime, grace_periods_end_though_cpus_sleep)
{
    runtime rt(runtime_options{.cpus = std::vector<cpu_options>(2)});
    for (int i = 0; i < 20; ++i) {
        rt.synchronize_rcu();
    }
}

TEST(runtime, measures_what_a_sleep_costs)
{
    runtime_options options;
    options.hybrid.sleep_cost = 0;
    runtime rt(options);
    EXPECT_GE(rt.options().hybrid.sleep_cost, 5 * NSEC_PER_USEC);
    EXPECT_LE(rt.options().hybrid.sleep_cost, 100 * NSEC_PER_USEC);
}

} // namespace

} // namespace halfpoll
