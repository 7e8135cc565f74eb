// SPDX-License-Identifier: BSD-3-Clause
//
// Several bottom-half threads on one CPU: refusals, waiting, and the work at the end of a section.
#include "fake_device.hpp"
#include "priorities.hpp"
#include "refusal.hpp"

#include <halfpoll/irq_work.hpp>
#include <halfpoll/softnet_data.hpp>

#include <gtest/gtest.h>

#include <pthread.h>
#include <sched.h>
#include <semaphore>
#include <string>
#include <vector>

namespace halfpoll
{

namespace
{

using test::refusal;

runtime_options big()
{
    runtime_options options;
    options.exclusion = exclusion_mode::big;
    return options;
}

runtime_options big_with_ksoftirqd()
{
    runtime_options options = big();
    options.ksoftirqd = true;
    return options;
}

TEST(exclusion, several_threads_on_a_cpu_are_refused_in_exclusive)
{
    EXPECT_NE(refusal([] { runtime(runtime_options{.ksoftirqd = true}); }).find("ksoftirqd/N"), std::string::npos);
    EXPECT_NE(refusal([] { runtime(runtime_options{.irq_workd = true}); }).find("use mode big"), std::string::npos);
    runtime rt(runtime_options{});
    EXPECT_NE(refusal([&] { cpu_attachment(rt, 0); }).find("mode big"), std::string::npos);
    EXPECT_EQ(this_softnet_data(), nullptr);
}

TEST(exclusion, a_thread_is_attached_once)
{
    runtime rt(big());
    cpu_attachment first(rt, 0);
    EXPECT_NE(refusal([&] { cpu_attachment(rt, 0); }).find("already"), std::string::npos);
}

TEST(exclusion, an_attachment_pins_and_gives_back)
{
    runtime_options options = big();
    options.cpus[0].affinity = test::first_cpu();
    runtime rt(options);
    cpu_set_t before, during, after;
    sched_getaffinity(0, sizeof before, &before);
    {
        cpu_attachment attached(rt, 0);
        sched_getaffinity(0, sizeof during, &during);
    }
    sched_getaffinity(0, sizeof after, &after);
    EXPECT_EQ(CPU_COUNT(&during), 1);
    EXPECT_TRUE(CPU_EQUAL(&before, &after));
}

TEST(exclusion, a_section_has_the_cpu_to_itself)
{
    runtime rt(big());
    cpu_attachment attached(rt, 0);
    EXPECT_EQ(this_softnet_data(), nullptr);
    std::atomic<bool> ran{false};
    call_single_data call{
        .func = [](softnet_data &, void *flag) noexcept { *static_cast<std::atomic<bool> *>(flag) = true; },
        .arg = &ran,
        .next = nullptr};
    {
        bh_section bh(rt.cpu(0));
        EXPECT_EQ(this_softnet_data(), &rt.cpu(0));
        EXPECT_TRUE(rt.cpu(0).lock->held());
        call_on_async(rt.cpu(0), call);
        // Long enough for a wake-up, which the lock must keep out.
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
        EXPECT_FALSE(ran);
    }
    EXPECT_EQ(this_softnet_data(), nullptr);
    EXPECT_TRUE(eventually([&] { return ran.load(); }));
}

TEST(exclusion, two_threads_count_without_losing_any)
{
    runtime rt(big());
    constexpr int times = 20000;
    int counter = 0; // protected by the sections alone
    const auto count = [&] {
        cpu_attachment attached(rt, 0);
        for (int i = 0; i < times; ++i) {
            bh_section bh(rt.cpu(0));
            ++counter;
        }
    };
    std::thread a(count), b(count);
    for (int i = 0; i < 200; ++i) {
        rt.call_on(0, [&](softnet_data &) { ++counter; });
    }
    a.join();
    b.join();
    EXPECT_EQ(counter, 2 * times + 200);
}

TEST(exclusion, a_section_lends_its_holder_the_priority_of_who_waits)
{
    runtime rt(big());
    cpu_attachment attached(rt, 0);
    const std::uint32_t holder = current_tid();
    std::string refused;
    std::binary_semaphore asked(0);
    std::thread urgent;
    {
        bh_section bh(rt.cpu(0));
        urgent = std::thread([&] {
            cpu_attachment also(rt, 0);
            refused = test::become_fifo(pthread_self(), 20);
            asked.release();
            bh_section waits(rt.cpu(0));
        });
        asked.acquire();
        if (refused.empty()) {
            EXPECT_TRUE(eventually([&] { return test::effective_priority(holder) == -21; }));
        }
    }
    urgent.join();
    SKIP_WITHOUT_FIFO();
    EXPECT_GE(test::effective_priority(), 0) << "and takes it back";
}

std::vector<std::string> where;

void note_where(const char *when)
{
    where.push_back(std::string(when) + (in_hardirq() ? " hardirq" : "") + (in_serving_softirq() ? " serving" : "") +
                    (in_softirq() ? " softirq" : "") + (in_interrupt() ? " interrupt" : "") +
                    (in_task() ? " task" : ""));
}

class contexts : public testing::TestWithParam<exclusion_mode>
{
};

TEST_P(contexts, predicates)
{
    where.clear();
    runtime rt(runtime_options{.exclusion = GetParam()});
    rt.open_softirq(TASKLET_SOFTIRQ, [](softnet_data &sd) noexcept {
        note_where("handler");
        bh_section nested(sd); // the end of this section runs no softirq: the handler has not ended
        __raise_softirq_irqoff(sd, BLOCK_SOFTIRQ);
    });
    rt.open_softirq(BLOCK_SOFTIRQ, [](softnet_data &) noexcept { note_where("raised by it"); });
    static irq_work work;
    work.func = [](irq_work &) noexcept { note_where("irq_work"); };
    note_where("elsewhere");
    rt.call_on(0, [](softnet_data &sd) {
        note_where("call");
        local_bh_disable();
        local_bh_disable();
        __raise_softirq_irqoff(sd, TASKLET_SOFTIRQ);
        local_bh_enable();
        note_where("disabled");
        local_bh_enable();
        note_where("enabled");
        irq_work_queue(work);
    });
    irq_work_sync(work);
    EXPECT_EQ(where,
              (std::vector<std::string>{"elsewhere task", "call task", "disabled softirq interrupt task",
                                        "handler serving softirq interrupt", "raised by it serving softirq interrupt",
                                        "enabled task", "irq_work hardirq interrupt"}));
}

INSTANTIATE_TEST_SUITE_P(modes, contexts, testing::Values(exclusion_mode::exclusive, exclusion_mode::big));

TEST(exclusion, an_embedder_thread_serves_what_it_raised)
{
    static std::thread::id served_by;
    served_by = {};
    runtime rt(big());
    rt.open_softirq(BLOCK_SOFTIRQ, [](softnet_data &) noexcept { served_by = std::this_thread::get_id(); });
    cpu_attachment attached(rt, 0);
    {
        bh_section bh(rt.cpu(0));
        raise_softirq(*bh, BLOCK_SOFTIRQ);
        EXPECT_EQ(served_by, std::thread::id()) << "served before the section's end";
    }
    EXPECT_EQ(served_by, std::this_thread::get_id());
}

/// An embedder's thread polls a device and puts it back to sleep: only the CPU's own thread can unmask its interrupt.
TEST(exclusion, an_instance_polled_by_an_embedder_thread_gets_its_interrupt_back)
{
    runtime rt(big());
    fake_device dev;
    dev.napi.config.busy_poll = 0;
    dev.napi.park_time = 3600 * NSEC_PER_SEC; // no park timer rescues it
    netif_napi_add(rt.cpu(0), dev.napi, fake_device::poll);
    napi_enable(dev.napi);
    cpu_attachment attached(rt, 0);
    for (int round = 1; round <= 50; ++round) {
        ASSERT_TRUE(eventually([&] { return dev.unmasked.load(); })) << round;
        {
            bh_section bh(rt.cpu(0));
            dev.waiting.fetch_add(1); // a packet without an event
            napi_schedule(dev.napi);
        }
        EXPECT_EQ(dev.received, 2 * round - 1) << "polled at the end of the section";
        dev.arrive(); // a packet with an event, if the interrupt is unmasked
        ASSERT_TRUE(eventually([&] { return dev.received == 2 * round; })) << round;
    }
    napi_disable(dev.napi);
    netif_napi_del(dev.napi);
    EXPECT_FALSE(dev.overlapped);
    EXPECT_FALSE(dev.wrong_thread);
}

TEST(exclusion, a_timer_started_by_an_embedder_thread_wakes_the_cpu)
{
    static std::atomic<bool> fired;
    fired = false;
    runtime rt(big());
    hrtimer timer;
    timer.function = [](hrtimer &) noexcept { fired = true; };
    cpu_attachment attached(rt, 0);
    ASSERT_TRUE(eventually([&] { return rt.cpu(0).sleeping.load() != 0; }));
    {
        bh_section bh(rt.cpu(0));
        bh->timers.start(timer, rt.now() + NSEC_PER_MSEC);
    }
    EXPECT_TRUE(eventually([] { return fired.load(); }));
}

/// A timer that has expired when it is started, and the CPU's own thread, which is woken to run it.
class pinned_timer : public testing::TestWithParam<exclusion_mode>
{
protected:
    static inline std::atomic<bool> fired;
    static inline softnet_data *fired_on;

    pinned_timer()
    {
        fired = false;
        timer.function = [](hrtimer &) noexcept {
            fired_on = this_softnet_data();
            fired = true;
        };
    }
    static runtime_options options()
    {
        runtime_options o;
        o.exclusion = GetParam();
        o.cpus = {{.affinity = test::first_cpu()}, {.affinity = test::first_cpu()}};
        return o;
    }
    /// Starts the timer in a section of CPU 0.
    void arm()
    {
        softnet_data &sd = *this_softnet_data();
        sd.timers.start(timer, sd.env->now() - NSEC_PER_MSEC);
        kick_cpu(sd);
        std::this_thread::sleep_for(std::chrono::milliseconds(2)); // in this time other threads have the logical CPU
        EXPECT_FALSE(fired);
    }
    void expect_fired(runtime &rt)
    {
        EXPECT_TRUE(eventually([] { return fired.load(); }));
        rt.call_on(0, [&](softnet_data &sd) {
            EXPECT_EQ(fired_on, &sd);
            EXPECT_FALSE(timer.active());
        });
    }
    hrtimer timer;
};

TEST_P(pinned_timer, does_not_fire_before_the_section_ends)
{
    runtime rt(options());
    rt.call_on(0, [&](softnet_data &sd) {
        {
            bh_section bh(sd);
            {
                bh_section nested(sd);
                arm();
            }
            EXPECT_FALSE(fired) << "at the end of a nested section";
        }
    });
    expect_fired(rt);
}

TEST_P(pinned_timer, does_not_fire_in_a_softirq)
{
    static std::function<void()> handler;
    handler = [this] { arm(); };
    runtime rt(options());
    rt.open_softirq(TASKLET_SOFTIRQ, [](softnet_data &) noexcept { handler(); });
    raise_softirq(rt.cpu(0), TASKLET_SOFTIRQ);
    expect_fired(rt);
}

class pinned_timer_of_an_embedder : public pinned_timer
{
};

/// The CPU's own thread, which would run the timer, is awake and waits for the section to end.
TEST_P(pinned_timer_of_an_embedder, does_not_fire_before_the_section_ends)
{
    runtime rt(options());
    std::binary_semaphore armed(0), leave(0);
    std::thread embedder([&] {
        cpu_attachment attached(rt, 0);
        bh_section bh(rt.cpu(0));
        arm();
        armed.release();
        leave.acquire();
        EXPECT_FALSE(fired);
    });
    armed.acquire();
    rt.call_on(1, [](softnet_data &) {}); // another runtime CPU on this logical CPU is not affected
    leave.release();
    embedder.join();
    expect_fired(rt);
}

constexpr auto mode_name = [](const auto &each) {
    constexpr const char *names[] = {"exclusive", "big", "nested"};
    return names[static_cast<unsigned>(each.param)];
};
INSTANTIATE_TEST_SUITE_P(modes, pinned_timer,
                         testing::Values(exclusion_mode::exclusive, exclusion_mode::big, exclusion_mode::nested),
                         mode_name);
INSTANTIATE_TEST_SUITE_P(modes, pinned_timer_of_an_embedder,
                         testing::Values(exclusion_mode::big, exclusion_mode::nested), mode_name);

std::atomic<unsigned> rounds;
std::atomic<std::uint32_t> served_in;

TEST(ksoftirqd, takes_over_what_outlives_a_dispatch)
{
    rounds = 0;
    runtime rt(big_with_ksoftirqd());
    rt.open_softirq(BLOCK_SOFTIRQ, [](softnet_data &sd) noexcept {
        served_in = current_tid();
        if (++rounds < 3 * MAX_SOFTIRQ_RESTART) {
            __raise_softirq_irqoff(sd, BLOCK_SOFTIRQ);
        }
    });
    std::uint32_t own = 0;
    rt.call_on(0, [&](softnet_data &sd) {
        own = current_tid();
        __raise_softirq_irqoff(sd, BLOCK_SOFTIRQ);
    });
    EXPECT_TRUE(eventually([] { return rounds == 3 * MAX_SOFTIRQ_RESTART; }));
    EXPECT_NE(served_in, own);
    EXPECT_GE(rt.cpu(0).stats.ksoftirqd.load(), 1u);
}

/// Softirqs that never end: an embedder's thread on the CPU still gets its sections, and the CPU's own thread its
/// calls.
TEST(ksoftirqd, others_get_their_turn_beside_endless_softirqs)
{
    static std::atomic<bool> endless;
    endless = true;
    runtime_options options = big_with_ksoftirqd();
    options.cpus[0].affinity = test::first_cpu();
    runtime rt(options);
    rt.open_softirq(BLOCK_SOFTIRQ, [](softnet_data &sd) noexcept {
        rounds.fetch_add(1);
        if (endless) {
            __raise_softirq_irqoff(sd, BLOCK_SOFTIRQ);
        }
    });
    raise_softirq(rt.cpu(0), BLOCK_SOFTIRQ);
    cpu_attachment attached(rt, 0);
    for (int i = 0; i < 20; ++i) {
        const unsigned before = rounds;
        local_bh_disable();
        local_bh_enable();
        rt.call_on(0, [](softnet_data &) {});
        EXPECT_TRUE(eventually([&] { return rounds > before; }));
    }
    endless = false;
}

/// A raise in task context wakes the thread itself, since no exit point follows before the caller's work ends.
TEST(ksoftirqd, is_woken_by_a_raise_in_task_context_only)
{
    runtime rt(big_with_ksoftirqd());
    rt.call_on(0, [](softnet_data &sd) {
        __raise_softirq_irqoff(sd, BLOCK_SOFTIRQ);
        EXPECT_FALSE(sd.ksoftirqd_active);
        {
            bh_section bh(sd);
            raise_softirq_irqoff(sd, BLOCK_SOFTIRQ);
            EXPECT_FALSE(sd.ksoftirqd_active);
        }
        raise_softirq_irqoff(sd, BLOCK_SOFTIRQ);
        EXPECT_TRUE(sd.ksoftirqd_active);
    });
}

/// Beside endless softirqs a spinning instance is still polled, although the CPU's own thread, which would bring it
/// back, sleeps.
TEST(ksoftirqd, spinning_instances_are_not_forgotten)
{
    static std::atomic<bool> endless;
    endless = true;
    runtime rt(big_with_ksoftirqd());
    rt.open_softirq(BLOCK_SOFTIRQ, [](softnet_data &sd) noexcept {
        if (endless) {
            __raise_softirq_irqoff(sd, BLOCK_SOFTIRQ);
        }
    });
    fake_device dev;
    dev.napi.irq = nullptr;
    netif_napi_add(rt.cpu(0), dev.napi, fake_device::poll, wait_rung::spin, "test");
    napi_enable(dev.napi);
    raise_softirq(rt.cpu(0), BLOCK_SOFTIRQ);
    for (int i = 1; i <= 20; ++i) {
        dev.arrive();
        EXPECT_TRUE(eventually([&] { return dev.received == i; })) << i;
    }
    endless = false;
    napi_disable(dev.napi);
    netif_napi_del(dev.napi);
}

} // namespace

} // namespace halfpoll
