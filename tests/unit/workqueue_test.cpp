// SPDX-License-Identifier: BSD-3-Clause
#include "no_threads.hpp"
#include "noted.hpp"
#include "priorities.hpp"
#include "refusal.hpp"

#include <halfpoll/runtime.hpp>
#include <halfpoll/softnet_data.hpp>
#include <halfpoll/workqueue.hpp>

#include <gtest/gtest.h>

#include <array>
#include <mutex>
#include <sched.h>
#include <set>
#include <thread>
#include <vector>

namespace halfpoll
{

namespace
{

using namespace test;

using noted_work = noted<work_struct>;

TEST(workqueue, runs_where_it_is_told_and_nowhere_else)
{
    const int cpu = allowed_cpus().back();
    workqueue wq(std::vector<int>{cpu}, 4);
    std::mutex mutex;
    std::set<int> ran_on;
    std::array<noted_work, 40> works;
    for (noted_work &w : works) {
        w.more = [&] {
            cpu_set_t set;
            sched_getaffinity(0, sizeof set, &set);
            std::lock_guard lock(mutex);
            EXPECT_EQ(CPU_COUNT(&set), 1);
            ran_on.insert(sched_getcpu());
        };
        EXPECT_TRUE(queue_work(wq, w));
    }
    wq.drain();
    EXPECT_EQ(ran_on, std::set<int>{cpu});
}

TEST(workqueue, keeps_off_the_data_cores)
{
    runtime_options options;
    options.cpus[0].affinity = allowed_cpus().front();
    runtime rt(options);
    if (allowed_cpus().size() == 1) {
        EXPECT_THROW(workqueue{rt}, error);
        return;
    }
    workqueue wq(rt);
    noted_work w;
    w.more = [&] { EXPECT_NE(sched_getcpu(), options.cpus[0].affinity); };
    for (int i = 1; i <= 50; ++i) {
        queue_work(wq, w);
        flush_work(w);
        EXPECT_EQ(w.runs, i);
    }
}

TEST(workqueue, refuses_to_run_nowhere)
{
    EXPECT_THROW(workqueue(std::vector<int>{}), error);
    EXPECT_THROW(workqueue(std::vector<int>{-1}), error);
    runtime_options options;
    options.cpus.clear();
    for (const int cpu : allowed_cpus()) {
        options.cpus.push_back({.affinity = cpu});
    }
    runtime rt(options);
    EXPECT_THROW(workqueue{rt}, error);
}

TEST(workqueue, accepts_work_from_a_bottom_half)
{
    runtime rt(runtime_options{});
    workqueue wq(allowed_cpus());
    noted_work w;
    softnet_data *seen = &rt.cpu(0);
    w.more = [&] { seen = this_softnet_data(); };
    rt.call_on(0, [&](softnet_data &) { EXPECT_TRUE(queue_work(wq, w)); });
    flush_work(w);
    EXPECT_EQ(w.runs, 1);
    EXPECT_EQ(seen, nullptr);
}

TEST(workqueue, queued_twice_before_it_starts_runs_once)
{
    workqueue wq({allowed_cpus().front()}, 1);
    noted_work first, w;
    first.hold = true;
    queue_work(wq, first);
    ASSERT_TRUE(eventually([&] { return first.runs == 1; }));
    EXPECT_TRUE(queue_work(wq, w)); // queued behind `first`: one worker
    EXPECT_FALSE(queue_work(wq, w));
    EXPECT_EQ(w.runs, 0);
    first.hold = false;
    wq.drain();
    EXPECT_EQ(w.runs, 1);
}

TEST(workqueue, queued_while_it_runs_runs_again_and_never_beside_itself)
{
    workqueue wq(allowed_cpus(), 4);
    noted_work w;
    w.hold = true;
    queue_work(wq, w);
    ASSERT_TRUE(eventually([&] { return w.runs == 1; }));
    EXPECT_TRUE(queue_work(wq, w));
    EXPECT_FALSE(queue_work(wq, w));
    noted_work other; // shows that another worker has looked at the queue since
    queue_work(wq, other);
    flush_work(other);
    EXPECT_EQ(w.runs, 1);
    w.hold = false;
    flush_work(w);
    EXPECT_EQ(w.runs, 2);
    EXPECT_FALSE(w.overlapped);
}

TEST(workqueue, may_queue_itself)
{
    workqueue wq(allowed_cpus());
    noted_work w;
    w.more = [&] {
        if (w.runs < 100) {
            EXPECT_TRUE(queue_work(wq, w));
        }
    };
    queue_work(wq, w);
    wq.drain();
    EXPECT_EQ(w.runs, 100);
}

TEST(workqueue, flush_does_not_wait_for_what_is_queued_later)
{
    workqueue wq(allowed_cpus());
    noted_work w;
    w.more = [&] { queue_work(wq, w); };
    queue_work(wq, w);
    for (int i = 0; i < 100; ++i) {
        flush_work(w); // it always runs or is queued
    }
    EXPECT_GE(w.runs, 100);
    cancel_work_sync(w);
}

TEST(workqueue, flush_waits_for_the_run_that_is_queued)
{
    workqueue wq(allowed_cpus(), 2);
    noted_work w;
    std::atomic<int> may_end{0}; ///< number of runs that may end
    w.more = [&] {
        if (w.runs == 2) {
            queue_work(wq, w);
        }
        while (may_end < w.runs) {
            std::this_thread::yield();
        }
    };
    queue_work(wq, w);
    ASSERT_TRUE(eventually([&] { return w.runs == 1; }));
    queue_work(wq, w);
    std::atomic<bool> flushing{false}, flushed{false};
    std::thread flusher([&] {
        flushing = true;
        flush_work(w);
        flushed = true;
    });
    EXPECT_TRUE(eventually([&] { return flushing.load(); }));
    // Gives flush_work() time to block. If that takes longer, the test only proves less.
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    may_end = 1;
    EXPECT_TRUE(eventually([&] { return w.runs == 2; }));
    EXPECT_FALSE(flushed) << "the second was queued before";
    may_end = 2;
    EXPECT_TRUE(eventually([&] { return flushed.load(); })) << "the third was queued later";
    may_end = 3;
    flusher.join();
    wq.drain();
    EXPECT_EQ(w.runs, 3);
}

TEST(workqueue, says_that_its_thread_cannot_start)
{
    const no_threads meanwhile;
    EXPECT_NE(refusal([] { workqueue{allowed_cpus()}; }).find("workqueue: cannot start its thread"), std::string::npos);
}

TEST(workqueue, cancelled_work_does_not_start)
{
    workqueue wq({allowed_cpus().front()}, 1);
    noted_work first, w;
    first.hold = true;
    queue_work(wq, first);
    ASSERT_TRUE(eventually([&] { return first.runs == 1; }));
    queue_work(wq, w);
    const std::uint32_t queued = w.state;
    std::thread canceller([&] { EXPECT_TRUE(cancel_work_sync(w)); });
    EXPECT_TRUE(eventually([&] { return w.state != queued; })) << "the cancellation is announced";
    EXPECT_FALSE(queue_work(wq, w));
    first.hold = false;
    canceller.join();
    wq.drain();
    EXPECT_EQ(w.runs, 0);
    EXPECT_FALSE(cancel_work_sync(w));
    EXPECT_TRUE(queue_work(wq, w)) << "usable afterwards";
    flush_work(w);
    EXPECT_EQ(w.runs, 1);
}

TEST(workqueue, cancel_ends_work_that_always_queues_itself)
{
    workqueue wq(allowed_cpus());
    noted_work w;
    w.more = [&] { queue_work(wq, w); };
    queue_work(wq, w);
    ASSERT_TRUE(eventually([&] { return w.runs > 10; }));
    cancel_work_sync(w);
    const int runs = w.runs;
    wq.drain();
    EXPECT_EQ(w.runs, runs);
}

TEST(workqueue, many_queuers_lose_and_double_nothing)
{
    workqueue wq(allowed_cpus(), 3);
    std::array<noted_work, 7> works;
    std::array<std::atomic<int>, 7> queued{};
    const auto queue = [&](unsigned seed) {
        for (unsigned i = seed; i < seed + 4000; ++i) {
            if (queue_work(wq, works[i * 3 % 7])) {
                queued[i * 3 % 7].fetch_add(1);
            }
        }
    };
    std::thread a(queue, 0), b(queue, 1);
    a.join();
    b.join();
    wq.drain();
    for (std::size_t i = 0; i < works.size(); ++i) {
        EXPECT_EQ(works[i].runs, queued[i]);
        EXPECT_FALSE(works[i].overlapped);
    }
}

} // namespace

} // namespace halfpoll
