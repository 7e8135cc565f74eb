// SPDX-License-Identifier: BSD-3-Clause
//
// Work that is deferred to softirqs: tasklets, BH work items, RCU callbacks.
#include "eventually.hpp"
#include "noted.hpp"

#include <halfpoll/bh_work.hpp>
#include <halfpoll/rcu.hpp>
#include <halfpoll/runtime.hpp>
#include <halfpoll/softnet_data.hpp>
#include <halfpoll/tasklet.hpp>

#include <gtest/gtest.h>

#include <array>
#include <thread>
#include <vector>

namespace halfpoll
{

namespace
{

using namespace test;

std::vector<char> order;

using noted_tasklet = noted<tasklet_struct>;

class deferred : public testing::TestWithParam<exclusion_mode>
{
protected:
    runtime rt{runtime_options{.cpus = std::vector<cpu_options>(2), .exclusion = GetParam()}};
};

INSTANTIATE_TEST_SUITE_P(modes, deferred, testing::Values(exclusion_mode::exclusive, exclusion_mode::big));

TEST_P(deferred, tasklet_scheduled_twice_runs_once)
{
    noted_tasklet t;
    t.more = [] { EXPECT_TRUE(in_serving_softirq()); };
    rt.call_on(0, [&](softnet_data &sd) {
        tasklet_schedule(sd, t);
        tasklet_schedule(sd, t);
    });
    tasklet_kill(t);
    EXPECT_EQ(t.runs, 1);
    tasklet_schedule(rt.cpu(1), t); // from another thread
    tasklet_kill(t);
    EXPECT_EQ(t.runs, 2);
}

TEST_P(deferred, oldest_first_and_hi_before_normal)
{
    order.clear();
    std::array<tasklet_struct, 4> t;
    t[0].func = [](tasklet_struct &) noexcept { order.push_back('a'); };
    t[1].func = [](tasklet_struct &) noexcept { order.push_back('b'); };
    t[2].func = [](tasklet_struct &) noexcept { order.push_back('H'); };
    t[3].func = [](tasklet_struct &) noexcept { order.push_back('I'); };
    bh_work work, urgent;
    work.func = [](bh_work &) noexcept { order.push_back('w'); };
    urgent.func = [](bh_work &) noexcept { order.push_back('U'); };
    rt.call_on(0, [&](softnet_data &sd) {
        bh_section bh(sd);
        tasklet_schedule(sd, t[0]);
        tasklet_schedule(sd, t[1]);
        tasklet_hi_schedule(sd, t[2]);
        tasklet_hi_schedule(sd, t[3]);
        queue_bh_work(sd, work);
        queue_bh_highpri_work(sd, urgent);
    });
    EXPECT_EQ(std::string(order.begin(), order.end()), "UHIwab");
}

TEST_P(deferred, tasklet_that_schedules_itself_runs_again)
{
    noted_tasklet t;
    t.more = [&] {
        if (t.runs < 25) { // more runs than two dispatches
            tasklet_schedule(*this_softnet_data(), t);
        }
    };
    tasklet_schedule(rt.cpu(0), t);
    EXPECT_TRUE(eventually([&] { return t.runs == 25; }));
    tasklet_kill(t);
}

/// Property 17: a tasklet never runs twice at once, and a schedule while it runs causes one more run.
TEST_P(deferred, tasklet_scheduled_on_another_cpu_while_it_runs_waits)
{
    noted_tasklet t;
    t.hold = true;
    tasklet_schedule(rt.cpu(0), t);
    ASSERT_TRUE(eventually([&] { return t.runs == 1; }));
    tasklet_schedule(rt.cpu(1), t);
    const auto tries = [&] { return rt.cpu(1).stats.softirqs[TASKLET_SOFTIRQ].load(); };
    EXPECT_TRUE(eventually([&] { return tries() > 2; })) << "the other CPU tries again and again";
    EXPECT_EQ(t.runs, 1);
    t.hold = false;
    EXPECT_TRUE(eventually([&] { return t.runs == 2; }));
    tasklet_kill(t);
    EXPECT_EQ(t.runs, 2);
    EXPECT_FALSE(t.overlapped);
}

TEST_P(deferred, disabled_tasklet_keeps_its_place_and_its_softirq)
{
    noted_tasklet t;
    tasklet_disable(t);
    tasklet_disable(t);
    tasklet_schedule(rt.cpu(0), t);
    const auto served = [&] { return rt.cpu(0).stats.softirqs[TASKLET_SOFTIRQ].load(); };
    EXPECT_TRUE(eventually([&] { return served() > 20; })) << "it keeps raising its softirq";
    tasklet_enable(t);
    const std::uint64_t before = served();
    EXPECT_TRUE(eventually([&] { return served() > before + 20; }));
    EXPECT_EQ(t.runs, 0);
    tasklet_enable(t);
    EXPECT_TRUE(eventually([&] { return t.runs == 1; }));
    tasklet_kill(t);
}

TEST_P(deferred, tasklet_disable_waits_for_the_callback)
{
    noted_tasklet t;
    t.hold = true;
    tasklet_schedule(rt.cpu(0), t);
    ASSERT_TRUE(eventually([&] { return t.runs == 1; }));
    std::atomic<bool> disabled{false};
    std::thread waiter([&] {
        tasklet_disable(t);
        EXPECT_EQ(t.inside, 0);
        disabled = true;
    });
    ASSERT_TRUE(eventually([&] { return t.count != 0; }));
    EXPECT_FALSE(disabled);
    t.hold = false;
    waiter.join();
    tasklet_enable(t);
    tasklet_kill(t);
}

TEST_P(deferred, tasklets_under_fire_from_everywhere)
{
    std::array<noted_tasklet, 4> tasklets;
    const auto fire = [&](unsigned seed) {
        for (unsigned i = seed; i < seed + 2000; ++i) {
            noted_tasklet &t = tasklets[i * 5 % 4];
            (i % 2 ? tasklet_schedule : tasklet_hi_schedule)(rt.cpu(i / 2 % 2), t);
            if (i % 64 == seed) {
                tasklet_disable(t);
                EXPECT_EQ(t.inside, 0);
                tasklet_enable(t);
            }
        }
    };
    std::thread a(fire, 0), b(fire, 1);
    a.join();
    b.join();
    for (noted_tasklet &t : tasklets) {
        tasklet_kill(t);
        const int runs = t.runs;
        tasklet_schedule(rt.cpu(0), t);
        EXPECT_TRUE(eventually([&] { return t.runs == runs + 1; })) << "usable after tasklet_kill()";
        tasklet_kill(t);
        EXPECT_FALSE(t.overlapped);
    }
}

struct noted_work : bh_work {
    std::atomic<int> runs{0};
    int again = 0;
    noted_work()
    {
        func = [](bh_work &w) noexcept {
            auto &self = static_cast<noted_work &>(w);
            EXPECT_TRUE(in_serving_softirq());
            if (self.runs.fetch_add(1) < self.again) {
                EXPECT_TRUE(queue_bh_work(*this_softnet_data(), self));
            }
        };
    }
};

TEST_P(deferred, bh_work_queued_twice_runs_once)
{
    noted_work w;
    rt.call_on(0, [&](softnet_data &sd) {
        EXPECT_TRUE(queue_bh_work(sd, w));
        EXPECT_FALSE(queue_bh_work(sd, w));
    });
    bh_work_flush(w);
    EXPECT_EQ(w.runs, 1);
    EXPECT_TRUE(queue_bh_highpri_work(rt.cpu(1), w)); // from another thread
    bh_work_flush(w);
    EXPECT_EQ(w.runs, 2);
}

TEST_P(deferred, bh_work_that_queues_itself_gives_way_after_ten_rounds)
{
    noted_work w;
    w.again = 1000;
    queue_bh_work(rt.cpu(0), w);
    bh_work_flush(w);
    EXPECT_EQ(w.runs, 1001);
    EXPECT_GE(rt.cpu(0).stats.softirqs[TASKLET_SOFTIRQ].load(), 1000 / MAX_SOFTIRQ_RESTART);
}

TEST_P(deferred, bh_work_from_several_threads_is_not_lost)
{
    std::array<noted_work, 5> works;
    std::array<std::atomic<int>, 5> queued{};
    const auto queue = [&](unsigned seed) {
        for (unsigned i = seed; i < seed + 3000; ++i) {
            if (queue_bh_work(rt.cpu(i % 5 % 2), works[i % 5])) {
                queued[i % 5].fetch_add(1);
            }
        }
    };
    std::thread a(queue, 0), b(queue, 1);
    a.join();
    b.join();
    for (std::size_t i = 0; i < works.size(); ++i) {
        bh_work_flush(works[i]);
        EXPECT_EQ(works[i].runs, queued[i]);
    }
}

struct noted_head : rcu_head {
    std::atomic<bool> called{false};
    static void note(rcu_head &head) noexcept
    {
        EXPECT_TRUE(in_serving_softirq());
        static_cast<noted_head &>(head).called = true;
    }
};

TEST_P(deferred, rcu_callback_waits_for_every_cpu)
{
    noted_head head;
    std::atomic<bool> release{false};
    std::atomic<bool> reading{false};
    std::thread reader([&] {
        rt.call_on(1, [&](softnet_data &) { // one turn contains no quiescent state
            reading = true;
            while (!release) {
                std::this_thread::yield();
            }
        });
    });
    ASSERT_TRUE(eventually([&] { return reading.load(); }));
    rt.call_on(0, [&](softnet_data &) { call_rcu(head, noted_head::note); });
    const auto looks = [&] { return rt.cpu(0).stats.softirqs[RCU_SOFTIRQ].load(); };
    EXPECT_TRUE(eventually([&] { return looks() > 3; })) << "it looks again and again";
    EXPECT_FALSE(head.called);
    release = true;
    reader.join();
    EXPECT_TRUE(eventually([&] { return head.called.load(); }));
}

TEST_P(deferred, rcu_callbacks_are_called_in_order_and_once)
{
    order.clear();
    static std::atomic<int> called;
    called = 0;
    struct letter : rcu_head {
        char name;
    };
    std::array<letter, 26> heads;
    for (std::size_t i = 0; i < heads.size(); ++i) {
        heads[i].name = static_cast<char>('a' + i);
        rt.call_on(0, [&](softnet_data &) {
            call_rcu(heads[i], [](rcu_head &head) noexcept {
                order.push_back(static_cast<letter &>(head).name);
                called.fetch_add(1);
            });
        });
    }
    EXPECT_TRUE(eventually([] { return called == 26; }));
    EXPECT_EQ(std::string(order.begin(), order.end()), "abcdefghijklmnopqrstuvwxyz");
}

TEST(rcu, callbacks_that_still_wait_are_called_at_the_end)
{
    static int called;
    called = 0;
    rcu_head head;
    {
        runtime rt(runtime_options{});
        rt.call_on(0, [&](softnet_data &) { call_rcu(head, [](rcu_head &) noexcept { ++called; }); });
    }
    EXPECT_EQ(called, 1);
}

std::atomic<std::uint32_t> raised_on{0};

TEST_P(deferred, softirq_raised_from_another_thread_is_served_on_its_cpu)
{
    raised_on = 0;
    rt.open_softirq(BLOCK_SOFTIRQ, [](softnet_data &sd) noexcept { raised_on.fetch_add(1U << (8 * sd.cpu)); });
    rt.open_softirq(SCHED_SOFTIRQ, [](softnet_data &sd) noexcept { raised_on.fetch_add(1U << (8 * sd.cpu)); });
    raise_softirq(rt.cpu(1), BLOCK_SOFTIRQ);
    raise_softirq(rt.cpu(1), SCHED_SOFTIRQ);
    EXPECT_TRUE(eventually([] { return raised_on == 2U << 8; }));
    rt.call_on(0, [&](softnet_data &) { raise_softirq(rt.cpu(1), BLOCK_SOFTIRQ); }); // from a bottom-half thread
    EXPECT_TRUE(eventually([] { return raised_on == 3U << 8; }));
}

} // namespace

} // namespace halfpoll
