// SPDX-License-Identifier: BSD-3-Clause
//
// Locks among bottom-half threads of one CPU: three runtime CPUs with three SCHED_FIFO priorities share one logical
// CPU, so that the order of preemption is known.
#include "priorities.hpp"

#include <halfpoll/local_lock.hpp>
#include <halfpoll/napi.hpp>
#include <halfpoll/runtime.hpp>
#include <halfpoll/softnet_data.hpp>

#include <gtest/gtest.h>

#include <mutex>
#include <pthread.h>
#include <sched.h>
#include <string>
#include <sys/resource.h>
#include <thread>
#include <vector>

namespace halfpoll
{

namespace
{

using namespace test;

const nested_bh_lock_class class_a{"a"}, class_b{"b"}, class_c{"c"};
enum who : unsigned { low, middle, high };

class nested_locks : public priority_rig
{
protected:
    void SetUp() override { start_runtime(exclusion_mode::exclusive, {1, 10, 20}); }

    nested_bh_lock a{class_a, cpu}, b{class_b, cpu}, c{class_c, cpu};
    /// The events, in order. The mutex is for race checkers: no thread is preempted while it appends.
    struct {
        std::mutex mutex;
        std::vector<std::string> lines;
        void push_back(const std::string &line)
        {
            std::lock_guard lock(mutex);
            lines.push_back(line);
        }
    } seen;
};

TEST_F(nested_locks, are_held_to_the_end_of_the_guard)
{
    on(low, [&] {
        EXPECT_FALSE(a.held());
        {
            local_lock_nested_bh guard(a);
            EXPECT_TRUE(a.held());
            if (local_lock_nested_bh scoped(b); scoped) {
                EXPECT_TRUE(b.held());
            }
            EXPECT_FALSE(b.held());
            local_lock_nested_bh none(nullptr);
        }
        EXPECT_FALSE(a.held());
    });
}

/// The holder is preempted. A thread that waits for the lock lends it its priority, so that no thread of a priority in
/// between keeps the holder from leaving.
TEST_F(nested_locks, a_waiter_lends_its_priority_and_comes_next)
{
    SKIP_WITHOUT_FIFO();
    wait_for_sleep();
    task urgent([&] {
        seen.push_back("high wants it");
        local_lock_nested_bh guard(a);
        seen.push_back("high has it");
    });
    task between([&] { seen.push_back("middle"); });
    on(low, [&] {
        {
            local_lock_nested_bh guard(a);
            seen.push_back("low has it");
            start(high, urgent);
            seen.push_back("low at " + std::to_string(effective_priority()));
            start(middle, between);
            seen.push_back("low leaves");
        }
        seen.push_back("low at " + std::to_string(effective_priority()));
    });
    EXPECT_EQ(seen.lines, (std::vector<std::string>{"low has it", "high wants it", "low at -21", "low leaves",
                                                    "high has it", "middle", "low at -2"}));
}

/// Boosts propagate along a chain: high waits for middle, which waits for low.
TEST_F(nested_locks, a_boost_reaches_the_end_of_a_chain)
{
    SKIP_WITHOUT_FIFO();
    wait_for_sleep();
    task urgent([&] {
        local_lock_nested_bh guard(a);
        seen.push_back("high");
    });
    task between([&] {
        local_lock_nested_bh outer(a);
        local_lock_nested_bh inner(b);
        seen.push_back("middle at " + std::to_string(effective_priority()));
    });
    on(low, [&] {
        {
            local_lock_nested_bh guard(b);
            start(middle, between);
            seen.push_back("low at " + std::to_string(effective_priority()));
            start(high, urgent);
            seen.push_back("low at " + std::to_string(effective_priority()));
        }
        seen.push_back("low at " + std::to_string(effective_priority()));
    });
    EXPECT_EQ(seen.lines, (std::vector<std::string>{"low at -11", "low at -21", "middle at -21", "high", "low at -2"}));
}

/// Different locks are independent: the urgent thread runs through while the other thread holds its own lock.
TEST_F(nested_locks, an_urgent_thread_does_not_wait_for_another_resource)
{
    SKIP_WITHOUT_FIFO();
    wait_for_sleep();
    task urgent([&] {
        local_lock_nested_bh guard(b);
        seen.push_back("high");
    });
    on(low, [&] {
        local_lock_nested_bh guard(a);
        start(high, urgent);
        seen.push_back("low at " + std::to_string(effective_priority()));
    });
    EXPECT_EQ(seen.lines, (std::vector<std::string>{"high", "low at -2"}));
}

TEST_F(nested_locks, waiting_is_no_spinning)
{
    SKIP_WITHOUT_FIFO();
    wait_for_sleep();
    rusage before{}, after{};
    task urgent([&] {
        getrusage(RUSAGE_THREAD, &before);
        local_lock_nested_bh guard(a);
        getrusage(RUSAGE_THREAD, &after);
    });
    on(low, [&] {
        local_lock_nested_bh guard(a);
        start(high, urgent);
    });
    on(high, [] {});
    EXPECT_EQ(after.ru_nvcsw - before.ru_nvcsw, 1) << "it went to sleep once";
}

TEST_F(nested_locks, threads_count_without_losing_any)
{
    int counter = 0; // protected by the lock only
    constexpr int times = 20000;
    const std::function<void()> count = [&] {
        for (int i = 0; i < times; ++i) {
            local_lock_nested_bh guard(a);
            ++counter;
        }
    };
    task tasks[] = {task(count), task(count), task(count)};
    for (const who whom : {low, middle, high}) {
        start(whom, tasks[whom]);
    }
    for (const who whom : {low, middle, high}) {
        on(whom, [] {}); // calls are run newest first, but a thread sleeps only when its list is empty
        ASSERT_TRUE(eventually([&] {
            int now = 0;
            on(whom, [&] {
                local_lock_nested_bh guard(a);
                now = counter;
            });
            return now >= times;
        }));
    }
    EXPECT_TRUE(eventually([&] {
        int now = 0;
        on(low, [&] {
            local_lock_nested_bh guard(a);
            now = counter;
        });
        return now == 3 * times;
    }));
}

TEST(cpu_pin, holds_and_gives_back)
{
    const int cpu = allowed_cpus().back();
    cpu_set_t before, during, after;
    sched_getaffinity(0, sizeof before, &before);
    {
        cpu_pin pin(cpu);
        EXPECT_EQ(*this_lock_self.cpu, cpu);
        sched_getaffinity(0, sizeof during, &during);
        EXPECT_THROW(cpu_pin second(cpu), error);
    }
    sched_getaffinity(0, sizeof after, &after);
    EXPECT_EQ(CPU_COUNT(&during), 1);
    EXPECT_TRUE(CPU_EQUAL(&before, &after));
    EXPECT_EQ(*this_lock_self.cpu, -1);
    EXPECT_THROW(cpu_pin(CPU_SETSIZE), error);
    EXPECT_EQ(*this_lock_self.cpu, -1);
}

/// Misuse aborts the program. A death test starts the program anew for each case.
class lock_deaths : public nested_locks
{
protected:
    lock_deaths() { testing::GTEST_FLAG(death_test_style) = "threadsafe"; }
};

TEST_F(lock_deaths, a_thread_that_is_not_pinned_there_is_told_so)
{
    EXPECT_DEATH(a.lock(), "takes lock a of logical CPU [0-9]+, but is pinned to none");
}

TEST_F(lock_deaths, a_thread_that_was_moved_away)
{
    if (allowed_cpus().size() < 2) {
        GTEST_SKIP() << "one CPU";
    }
    const unsigned other = static_cast<unsigned>(allowed_cpus().back());
    const auto moved = [&] {
        cpu_set_t elsewhere;
        CPU_ZERO(&elsewhere);
        CPU_SET(other, &elsewhere);
        pthread_setaffinity_np(pthread_self(), sizeof elsewhere, &elsewhere);
        a.lock();
    };
    EXPECT_DEATH(on(low, moved), "takes lock a of logical CPU [0-9]+, but runs on another one");
}

#ifndef NDEBUG
TEST_F(lock_deaths, bottom_halves_enabled)
{
    const auto enabled = [&] {
        cpu_pin pin(cpu);
        a.lock();
    };
    EXPECT_DEATH(enabled(), "lock a .* is taken with bottom halves enabled");
}

TEST_F(lock_deaths, recursion)
{
    const auto twice = [&] {
        local_lock_nested_bh once(a);
        a.lock();
    };
    EXPECT_DEATH(on(low, twice), "lock a .* is taken twice by one thread");
}

TEST_F(lock_deaths, inversion_of_an_order_seen_before)
{
    const auto inversion = [&] {
        {
            local_lock_nested_bh outer(a);
            local_lock_nested_bh inner(b);
        }
        {
            local_lock_nested_bh outer(b);
            local_lock_nested_bh inner(c);
        }
        local_lock_nested_bh outer(c);
        a.lock();
    };
    EXPECT_DEATH(on(low, inversion),
                 "lock a .* is taken in the wrong order: elsewhere it is held where this is taken: c");
}

TEST_F(lock_deaths, two_of_one_class)
{
    nested_bh_lock other(class_a, cpu);
    const auto nested = [&] {
        local_lock_nested_bh outer(a);
        other.lock();
    };
    EXPECT_DEATH(on(low, nested), "lock a .* is taken under another one of its class");
}

TEST_F(lock_deaths, release_by_another)
{
    EXPECT_DEATH(on(low, [&] { a.unlock(); }), "lock a .* is released by a thread that does not hold it");
}

TEST_F(lock_deaths, held_across_a_poll)
{
    const auto polled = [&] {
        napi_struct napi;
        napi.source.fd = -1;
        netif_napi_add(rt->cpu(low), napi, [](napi_struct &n, int) noexcept {
            static nested_bh_lock held(class_b, n.sd->env->options().cpus[low].affinity);
            held.lock(); // never released
            return n.weight;
        });
        napi_enable(napi);
        std::this_thread::sleep_for(std::chrono::seconds(5));
    };
    EXPECT_DEATH(polled(), "lock b .* is held across a poll");
}
#endif

} // namespace

} // namespace halfpoll
