// SPDX-License-Identifier: BSD-3-Clause
#include "eventually.hpp"

#include <halfpoll/current_tid.hpp>
#include <halfpoll/irq_work.hpp>
#include <halfpoll/runtime.hpp>
#include <halfpoll/softnet_data.hpp>

#include <gtest/gtest.h>

#include <array>
#include <string>
#include <vector>

namespace halfpoll
{

namespace
{

using test::eventually;

runtime_options threaded()
{
    runtime_options options;
    options.exclusion = exclusion_mode::big;
    options.irq_workd = true;
    return options;
}

/// An item that records where it ran.
struct noted_work : irq_work {
    std::atomic<int> runs{0};
    std::atomic<std::uint32_t> tid{0};
    std::atomic<bool> hard{false};
    std::atomic<softnet_data *> section{nullptr};
    explicit noted_work(std::uint32_t kind = 0)
    {
        flags = kind;
        func = [](irq_work &work) noexcept {
            auto &self = static_cast<noted_work &>(work);
            self.tid = current_tid();
            self.hard = in_hardirq();
            self.section = this_softnet_data();
            self.runs.fetch_add(1);
        };
    }
};

std::uint32_t own_thread(runtime &rt, unsigned cpu)
{
    std::uint32_t tid = 0;
    rt.call_on(cpu, [&](softnet_data &) { tid = current_tid(); });
    return tid;
}

TEST(irq_work, without_a_thread_everything_runs_on_the_cpu_itself)
{
    runtime rt(runtime_options{.cpus = std::vector<cpu_options>(2)});
    for (const std::uint32_t kind : {0U, std::uint32_t{IRQ_WORK_HARD_IRQ}, std::uint32_t{IRQ_WORK_LAZY}}) {
        noted_work remote(kind), local(kind);
        EXPECT_TRUE(irq_work_queue_on(remote, rt.cpu(1)));
        rt.call_on(1, [&](softnet_data &) { EXPECT_TRUE(irq_work_queue(local)); });
        for (noted_work *work : {&remote, &local}) {
            irq_work_sync(*work);
            EXPECT_EQ(work->runs, 1) << kind;
            EXPECT_EQ(work->tid, own_thread(rt, 1)) << kind;
            EXPECT_EQ(work->section, &rt.cpu(1));
            EXPECT_TRUE(work->hard) << kind;
        }
    }
}

TEST(irq_work, with_a_thread_only_hard_work_runs_on_the_cpu_itself)
{
    runtime rt(threaded());
    for (const std::uint32_t kind : {0U, std::uint32_t{IRQ_WORK_HARD_IRQ}, std::uint32_t{IRQ_WORK_LAZY}}) {
        noted_work remote(kind), local(kind);
        EXPECT_TRUE(irq_work_queue_on(remote, rt.cpu(0)));
        rt.call_on(0, [&](softnet_data &) { EXPECT_TRUE(irq_work_queue(local)); });
        for (noted_work *work : {&remote, &local}) {
            irq_work_sync(*work);
            const bool hard = kind == IRQ_WORK_HARD_IRQ;
            EXPECT_EQ(work->runs, 1) << kind;
            EXPECT_EQ(work->tid == own_thread(rt, 0), hard) << kind;
            EXPECT_EQ(work->hard, hard) << kind;
            EXPECT_EQ(work->section.load() != nullptr, hard) << "irq_work/N calls in no section";
        }
    }
}

TEST(irq_work, what_is_queued_twice_runs_once)
{
    runtime rt(runtime_options{});
    noted_work work;
    rt.call_on(0, [&](softnet_data &) {
        EXPECT_TRUE(irq_work_queue(work));
        EXPECT_FALSE(irq_work_queue(work));
        EXPECT_TRUE(irq_work_is_busy(work));
    });
    irq_work_sync(work);
    EXPECT_EQ(work.runs, 1);
    EXPECT_FALSE(irq_work_is_busy(work));
}

std::vector<std::string> order;

template <char name>
struct named_work : irq_work {
    explicit named_work(std::uint32_t kind = 0)
    {
        flags = kind;
        func = [](irq_work &) noexcept { order.push_back(std::string(1, name)); };
    }
};

TEST(irq_work, newest_first_and_lazy_after_raised)
{
    order.clear();
    runtime rt(runtime_options{});
    named_work<'a'> a(IRQ_WORK_LAZY);
    named_work<'b'> b;
    named_work<'c'> c(IRQ_WORK_HARD_IRQ);
    rt.call_on(0, [&](softnet_data &) {
        irq_work_queue(a);
        irq_work_queue(b);
        irq_work_queue(c);
    });
    irq_work_sync(a);
    EXPECT_EQ(order, (std::vector<std::string>{"c", "b", "a"}));
}

TEST(irq_work, lazy_work_waits_for_the_tick)
{
    for (const bool thread : {false, true}) {
        runtime rt(thread ? threaded() : runtime_options{});
        noted_work work(IRQ_WORK_LAZY);
        ktime_t queued = 0;
        rt.call_on(0, [&](softnet_data &) {
            irq_work_queue(work);
            queued = ktime_get();
        });
        irq_work_sync(work);
        EXPECT_GE(ktime_get() - queued, IRQ_WORK_TICK - NSEC_PER_MSEC);
        EXPECT_EQ(work.runs, 1);
    }
}

/// On PREEMPT_RT the kernel lets a plain item behind a lazy one wait for the tick. Here the plain item wakes the
/// thread.
TEST(irq_work, plain_work_behind_lazy_work_does_not_wait)
{
    static ktime_t fake;
    fake = 1;
    runtime_options options = threaded();
    options.clock = []() noexcept { return fake; }; // the clock stands still, so that the tick never comes
    runtime rt(options);
    noted_work lazy(IRQ_WORK_LAZY), plain;
    rt.call_on(0, [&](softnet_data &) {
        irq_work_queue(lazy);
        irq_work_queue(plain);
    });
    EXPECT_TRUE(eventually([&] { return plain.runs == 1 && lazy.runs == 1; }));
}

TEST(irq_work, may_queue_itself_again)
{
    runtime rt(runtime_options{});
    struct again : irq_work {
        std::atomic<int> runs{0};
    } work;
    work.func = [](irq_work &self) noexcept {
        if (static_cast<again &>(self).runs.fetch_add(1) < 4) {
            EXPECT_TRUE(irq_work_queue(self));
        }
    };
    irq_work_queue_on(work, rt.cpu(0));
    irq_work_sync(work);
    EXPECT_EQ(work.runs, 5);
}

TEST(irq_work, the_thread_may_use_sections)
{
    runtime rt(threaded());
    static std::atomic<bool> served;
    served = false;
    rt.open_softirq(BLOCK_SOFTIRQ, [](softnet_data &) noexcept { served = true; });
    irq_work work;
    work.func = [](irq_work &) noexcept {
        local_bh_disable();
        raise_softirq(*this_softnet_data(), BLOCK_SOFTIRQ);
        local_bh_enable();
        EXPECT_TRUE(served);
    };
    irq_work_queue_on(work, rt.cpu(0));
    irq_work_sync(work);
}

/// An item must be on one list at a time. While `irq_work/N` is held up, items gather on the lazy list behind the first
/// one. None of them may also take the path of raised work: the CPU's own thread would run it at once, and the two
/// lists would share their tails.
TEST(irq_work, remote_items_behind_others_are_queued_once)
{
    runtime rt(threaded());
    struct gate : irq_work {
        std::atomic<bool> entered{false}, open{false};
    } gate;
    gate.func = [](irq_work &self) noexcept {
        auto &g = static_cast<struct gate &>(self);
        g.entered = true;
        g.open.wait(false);
    };
    irq_work_queue_on(gate, rt.cpu(0));
    ASSERT_TRUE(eventually([&] { return gate.entered.load(); }));

    std::array<noted_work, 8> works;
    for (noted_work &work : works) {
        EXPECT_TRUE(irq_work_queue_on(work, rt.cpu(0)));
        rt.call_on(0, [](softnet_data &) {}); // the CPU has run everything that was sent to it
    }
    const std::uint32_t own = own_thread(rt, 0);
    for (noted_work &work : works) {
        EXPECT_EQ(work.runs, 0) << "ran on the CPU's own thread, from a second list";
    }
    gate.open = true;
    gate.open.notify_one();
    for (noted_work &work : works) {
        irq_work_sync(work);
        EXPECT_EQ(work.runs, 1);
        EXPECT_NE(work.tid, own);
    }
}

TEST(irq_work, many_threads_lose_and_double_nothing)
{
    for (const bool thread : {false, true}) {
        runtime_options options = thread ? threaded() : runtime_options{};
        options.cpus = std::vector<cpu_options>(2);
        runtime rt(options);
        std::array<noted_work, 6> works{noted_work(0), noted_work(IRQ_WORK_HARD_IRQ), noted_work(IRQ_WORK_LAZY),
                                        noted_work(0), noted_work(IRQ_WORK_HARD_IRQ), noted_work(0)};
        std::array<std::atomic<int>, 6> claimed{};
        const auto queue = [&](unsigned seed) {
            for (unsigned i = seed; i < seed + 3000; ++i) {
                if (irq_work_queue_on(works[i * 7 % 6], rt.cpu(i / 3 % 2))) {
                    claimed[i * 7 % 6].fetch_add(1);
                }
            }
        };
        std::thread a(queue, 0), b(queue, 1), c(queue, 2);
        a.join();
        b.join();
        c.join();
        for (unsigned i = 0; i < works.size(); ++i) {
            irq_work_sync(works[i]);
            EXPECT_EQ(works[i].runs, claimed[i]);
        }
    }
}

} // namespace

} // namespace halfpoll
