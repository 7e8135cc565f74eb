// SPDX-License-Identifier: BSD-3-Clause
#include "fake_device.hpp"

#include <halfpoll/softnet_data.hpp>

#include <gtest/gtest.h>

namespace halfpoll
{

namespace
{

class napi : public testing::Test
{
protected:
    explicit napi(clock_fn clock = ktime_get) : rt(runtime_options{.clock = clock})
    {
        // A poll during which the machine takes the CPU away must not count as a squeeze.
        rt.set_netdev_budget(300, 1'000'000);
    }
    void add(wait_rung rung = wait_rung::interrupt)
    {
        netif_napi_add(rt.cpu(0), dev.napi, fake_device::poll, rung);
        napi_enable(dev.napi);
        added = true;
    }
    void TearDown() override
    {
        if (added) {
            if (!dev.napi.disabled) {
                napi_disable(dev.napi);
            }
            netif_napi_del(dev.napi);
        }
        EXPECT_FALSE(dev.overlapped);
        EXPECT_FALSE(dev.wrong_thread);
    }
    /// Waits until the device has handed over `n` packets, and until the poll that took the last one has ended,
    /// counters included.
    bool received(int n)
    {
        const bool all = eventually([&] { return dev.received == n; });
        on_cpu([] {});
        return all;
    }
    /// Waits until the instance waits for its interrupt, and until the poll that armed it has ended, counters included.
    bool parked()
    {
        const bool waits = eventually([&] { return dev.unmasked && !(dev.napi.state.load() & NAPIF_STATE_SCHED); });
        on_cpu([] {});
        return waits;
    }
    void on_cpu(const std::function<void()> &fn)
    {
        rt.call_on(0, [&](softnet_data &) { fn(); });
    }
    wait_rung rung() const { return dev.napi.rung.load(); }

    runtime rt;
    fake_device dev;
    bool added = false;
};

TEST_F(napi, packets_come_by_interrupt)
{
    dev.waiting = 3; // packets that arrived before it is enabled
    add();
    ASSERT_TRUE(received(3));
    for (int i = 1; i <= 100; ++i) {
        ASSERT_TRUE(parked());
        dev.arrive();
        ASSERT_TRUE(received(3 + i));
    }
    EXPECT_GE(dev.napi.stats.interrupts.load(), 100u);
    EXPECT_EQ(dev.napi.stats.packets.load(), 103u);
    EXPECT_EQ(rt.cpu(0).stats.processed.load(), 103u);
    EXPECT_EQ(rung(), wait_rung::interrupt);
}

TEST_F(napi, a_backlog_is_polled_in_weights_of_64)
{
    dev.waiting = 1000;
    add();
    ASSERT_TRUE(received(1000));
    EXPECT_GE(dev.napi.stats.polls.load(), 1000u / 64 + 1);
    EXPECT_GE(rt.cpu(0).stats.ksoftirqd.load(), 1u);    // a dispatch of ten passes was not enough
    EXPECT_EQ(rt.cpu(0).stats.time_squeeze.load(), 0u); // one poll per dispatch, far below netdev_budget
}

TEST_F(napi, misuse_is_refused)
{
    add();
    EXPECT_THROW(napi_enable(dev.napi), error);
    EXPECT_THROW(netif_napi_del(dev.napi), error);
    napi_disable(dev.napi);
    EXPECT_THROW(napi_disable(dev.napi), error);
}

TEST_F(napi, refused_enable_moves_to_timed_sleeps)
{
    dev.refuse_enable = -ENOTSUP;
    add();
    ASSERT_TRUE(eventually([&] { return rung() == wait_rung::timed; }));
    EXPECT_STREQ(dev.napi.rung_reason.load(), "the device refused to enable its interrupt");
    dev.arrive(5);
    EXPECT_TRUE(received(5));
}

TEST_F(napi, an_interrupt_that_never_comes_is_noticed)
{
    dev.mute = true;
    add();
    for (int i = 1; rung() == wait_rung::interrupt && i <= 10; ++i) {
        ASSERT_TRUE(parked());
        dev.arrive();
        ASSERT_TRUE(received(i));
    }
    EXPECT_EQ(rung(), wait_rung::timed);
    EXPECT_EQ(dev.napi.stats.park_rescues.load(), 2u);
    EXPECT_STREQ(dev.napi.rung_reason.load(), "the interrupt never came: packets were found without it");
}

TEST_F(napi, an_interrupt_that_fires_without_end_is_given_up)
{
    add();
    ASSERT_TRUE(parked());
    dev.storm = true;
    dev.arrive();
    ASSERT_TRUE(eventually([&] { return rung() == wait_rung::timed; }));
    EXPECT_STREQ(dev.napi.rung_reason.load(), "the interrupt fires without packets, over and over");
    EXPECT_FALSE(dev.unmasked);
    const int before = dev.received;
    dev.arrive(5);
    EXPECT_TRUE(received(before + 5));
}

TEST_F(napi, single_interrupts_without_packets_do_no_harm)
{
    add();
    const std::uint64_t processed = rt.cpu(0).stats.processed;
    // A spurious event follows each packet, as from a device that reports transmissions on the same vector.
    for (int i = 0; i < 3000; ++i) {
        ASSERT_TRUE(parked());
        dev.arrive();
        ASSERT_TRUE(received(i + 1));
        dev.fire();
    }
    EXPECT_EQ(rung(), wait_rung::interrupt);
    EXPECT_EQ(dev.napi.stats.packets.load(), 3000u) << "a spurious event is no work";
    EXPECT_EQ(rt.cpu(0).stats.processed - processed, 3000u);
}

TEST_F(napi, a_starved_device_is_polled_until_it_has_buffers)
{
    dev.napi.park_time = 3600 * NSEC_PER_SEC; // so that only `starving` makes it poll
    dev.starving = true;
    dev.mute = true;
    add();
    EXPECT_TRUE(eventually([&] { return dev.polls > 5; })) << dev.polls;
    dev.waiting = 3;
    EXPECT_TRUE(received(3)) << "packets that were found so are no sign of a lost interrupt";
    EXPECT_EQ(dev.napi.stats.park_rescues.load(), 0u);
    dev.starving = false;
    ASSERT_TRUE(parked());
    EXPECT_TRUE(eventually([&] {
        bool polls = true;
        on_cpu([&] { polls = dev.napi.park_polls; });
        return !polls;
    })) << "one poll follows, and no more";
    EXPECT_EQ(rung(), wait_rung::interrupt);
    dev.mute = false;
    dev.arrive();
    EXPECT_TRUE(received(4));
}

TEST_F(napi, a_device_that_was_silent_for_long_is_polled)
{
    add();
    ASSERT_TRUE(parked());
    for (const ktime_t park : {NSEC_PER_SEC / 2, NSEC_PER_SEC}) {
        const int before = dev.polls;
        rt.call_on(0, [&](softnet_data &sd) {
            dev.napi.park_time = park;
            sd.timers.start(dev.napi.park, 0); // the park ends
        });
        if (park == NSEC_PER_SEC) {
            EXPECT_TRUE(eventually([&] { return dev.polls > before; }));
        } else {
            on_cpu([] {});
            EXPECT_EQ(dev.polls, before);
        }
    }
    EXPECT_EQ(dev.napi.stats.park_rescues.load(), 0u);
}

class napi_standing_clock : public napi
{
protected:
    napi_standing_clock() : napi([]() noexcept { return KTIME_MAX / 2; }) {}
};

TEST_F(napi_standing_clock, a_late_interrupt_is_not_taken_for_a_lost_one)
{
    add();
    for (int i = 1; i <= 5; ++i) {
        ASSERT_TRUE(parked());
        rt.call_on(0, [&](softnet_data &sd) {
            dev.waiting = 1; // a packet arrived, but its event is still on the way
            sd.timers.start(dev.napi.park, 0);
        });
        on_cpu([&] { EXPECT_TRUE(dev.napi.park_suspect); });
        dev.fire();
        ASSERT_TRUE(received(i));
    }
    EXPECT_EQ(dev.napi.stats.park_rescues.load(), 0u);
    EXPECT_EQ(rung(), wait_rung::interrupt);
}

TEST_F(napi, without_io_uring_devices_spin_and_software_instances_do_not)
{
    runtime spinning(runtime_options{.interrupts = false});
    fake_device device, software;
    software.napi.irq = nullptr;
    for (fake_device *d : {&device, &software}) {
        netif_napi_add(spinning.cpu(0), d->napi, fake_device::poll);
        napi_enable(d->napi);
    }
    EXPECT_EQ(device.napi.rung.load(), wait_rung::spin);
    EXPECT_STREQ(device.napi.rung_reason.load(), "interrupts are switched off");
    EXPECT_TRUE(eventually([&] { return device.napi.stats.polls > 100 && software.napi.state == NAPIF_STATE_LISTED; }));
    for (fake_device *d : {&device, &software}) {
        napi_disable(d->napi);
        netif_napi_del(d->napi);
    }
}

TEST_F(napi, timed_rung_finds_packets_without_interrupts)
{
    add(wait_rung::timed);
    for (int i = 1; i <= 20; ++i) {
        dev.arrive();
        ASSERT_TRUE(received(i));
    }
    EXPECT_EQ(dev.napi.stats.unmasks.load(), 0u);
}

TEST_F(napi, spin_rung_never_sleeps)
{
    add(wait_rung::spin);
    const std::uint64_t sleeps = rt.cpu(0).stats.sleeps;
    ASSERT_TRUE(eventually([&] { return dev.napi.stats.empty_polls > 1000; }));
    dev.arrive(10);
    ASSERT_TRUE(received(10));
    EXPECT_LE(rt.cpu(0).stats.sleeps.load(), sleeps + 1); // the sleep that napi_enable() ended
    EXPECT_EQ(rt.cpu(0).stats.time_squeeze.load(), 0u);
    napi_synchronize(dev.napi); // returns although ownership is never released
}

TEST_F(napi, software_scheduled_instance_needs_no_device)
{
    dev.napi.irq = nullptr;
    add();
    for (int i = 1; i <= 100; ++i) {
        dev.waiting.fetch_add(1);
        napi_schedule(dev.napi);
        ASSERT_TRUE(received(i));
    }
    EXPECT_EQ(rung(), wait_rung::interrupt);
}

TEST_F(napi, busy_poll_time_keeps_it_polling)
{
    add();
    napi_configure(dev.napi, napi_config{.busy_poll = 1'000'000});
    ASSERT_TRUE(parked());
    dev.arrive();
    ASSERT_TRUE(eventually([&] { return dev.napi.stats.empty_polls > 100; }));
    EXPECT_FALSE(dev.unmasked);
    napi_configure(dev.napi, napi_config{.busy_poll = 0});
    EXPECT_TRUE(parked());
}

TEST_F(napi, deferral_polls_by_timer_before_it_unmasks)
{
    add();
    napi_configure(dev.napi,
                   napi_config{.napi_defer_hard_irqs = 5, .gro_flush_timeout = 100 * NSEC_PER_USEC, .busy_poll = 0});
    ASSERT_TRUE(parked());
    const std::uint64_t unmasks = dev.napi.stats.unmasks;
    dev.arrive();
    ASSERT_TRUE(received(1));
    ASSERT_TRUE(parked());
    EXPECT_EQ(dev.napi.stats.deferred.load(), 5u);
    EXPECT_EQ(dev.napi.stats.unmasks.load(), unmasks + 1);
}

TEST_F(napi, suspension_keeps_the_interrupt_masked_until_resumed)
{
    add();
    napi_configure(dev.napi, napi_config{.napi_defer_hard_irqs = 1,
                                         .gro_flush_timeout = 100 * NSEC_PER_MSEC,
                                         .irq_suspend_timeout = 100 * NSEC_PER_SEC,
                                         .busy_poll = 0});
    ASSERT_TRUE(parked());
    dev.arrive();
    ASSERT_TRUE(received(1));
    ktime_t left = 0;
    rt.call_on(0, [&](softnet_data &sd) {
        napi_suspend_irqs(dev.napi);
        left = dev.napi.timer.active() ? dev.napi.timer.expires - sd.env->now() : 0;
    });
    EXPECT_GT(left, 90 * NSEC_PER_SEC);
    EXPECT_FALSE(dev.unmasked);
    on_cpu([&] { napi_resume_irqs(dev.napi); });
    EXPECT_TRUE(parked());
}

TEST_F(napi, busy_loop_polls_in_place_of_the_interrupt)
{
    add();
    ASSERT_TRUE(parked());
    struct loop_state {
        fake_device &dev;
        int turns = 0;
    } state{dev};
    const std::uint64_t interrupts = dev.napi.stats.interrupts;
    bool owned = false;
    on_cpu([&] {
        owned = napi_busy_loop(
            dev.napi,
            [](void *ctx) {
                auto &s = *static_cast<loop_state *>(ctx);
                s.dev.arrive();
                return ++s.turns == 50;
            },
            &state);
    });
    EXPECT_TRUE(owned);
    ASSERT_TRUE(received(50));
    EXPECT_TRUE(parked());
    EXPECT_EQ(dev.napi.stats.interrupts.load(), interrupts);
}

TEST_F(napi, prefer_takes_a_spinner_over)
{
    add(wait_rung::spin);
    ASSERT_TRUE(eventually([&] { return dev.napi.stats.empty_polls > 10; }));
    bool owned = false;
    int turns = 0;
    on_cpu([&] {
        owned = napi_busy_loop(
            dev.napi, [](void *ctx) { return ++*static_cast<int *>(ctx) == 100; }, &turns, true);
    });
    EXPECT_TRUE(owned);
    const std::uint64_t polls = dev.napi.stats.polls;
    EXPECT_TRUE(eventually([&] { return dev.napi.stats.polls > polls + 100; })); // it spins again
}

TEST_F(napi, nothing_is_polled_while_disabled)
{
    add();
    for (int i = 0; i < 50; ++i) {
        dev.arrive();
        napi_disable(dev.napi);
        const std::uint64_t polls = dev.napi.stats.polls;
        EXPECT_FALSE(dev.unmasked);
        dev.arrive();
        dev.fire();
        EXPECT_FALSE(napi_schedule(dev.napi));
        on_cpu([] {});
        EXPECT_EQ(dev.napi.stats.polls.load(), polls);
        napi_enable(dev.napi);
    }
    EXPECT_TRUE(received(100));
}

TEST_F(napi, idle_is_quiet)
{
    add();
    ASSERT_TRUE(parked());
    // Each park is twice as long as the one before, and the first is 10 ms: soon a second contains at most two of them.
    EXPECT_TRUE(eventually([&] {
        const std::uint64_t wakeups = rt.cpu(0).stats.wakeups;
        std::this_thread::sleep_for(std::chrono::seconds(1));
        return rt.cpu(0).stats.wakeups - wakeups <= 2;
    }));
}

} // namespace

} // namespace halfpoll
