// SPDX-License-Identifier: BSD-3-Clause
//
// One test for each property that the bottom half must keep in every interleaving. Each test forces the race that the
// property guards against (see README.md here for the list, and for the lines that make each test pass).
#include "../unit/fake_device.hpp"
#include "race.hpp"

#include <halfpoll/irq_work.hpp>
#include <halfpoll/softnet_data.hpp>
#include <halfpoll/tasklet.hpp>

#include <gtest/gtest.h>

namespace halfpoll
{

namespace
{

class property : public testing::Test
{
protected:
    property() { dev.napi.config.busy_poll = 0; } // no spinning: each completion completes

    void add(fake_device &d, wait_rung rung = wait_rung::interrupt, napi_poll_fn poll = fake_device::poll)
    {
        netif_napi_add(rt.cpu(0), d.napi, poll, rung);
        napi_enable(d.napi);
        added.push_back(&d);
        ASSERT_TRUE(at_rest(d));
        barrier(); // the first poll has been counted, too
    }
    void add(wait_rung rung = wait_rung::interrupt) { add(dev, rung); }
    /// Adds an instance that only napi_schedule() brings back: nothing else can make up for a lost event.
    void add_software()
    {
        dev.napi.irq = nullptr;
        add(dev);
    }
    void TearDown() override
    {
        for (fake_device *d : added) {
            if (!d->napi.disabled) {
                napi_disable(d->napi);
            }
            netif_napi_del(d->napi);
            EXPECT_FALSE(d->overlapped);
            EXPECT_FALSE(d->wrong_thread);
            EXPECT_FALSE(d->polled_unmasked);
            EXPECT_EQ(d->napi.stats.park_rescues.load(), 0u) << "found by luck";
        }
    }
    bool received(int n)
    {
        return eventually([&] { return dev.received == n; });
    }
    static bool owned(const fake_device &d) { return d.napi.state.load() & NAPIF_STATE_SCHED; }
    static bool at_rest(fake_device &d)
    {
        const bool interrupt = d.napi.irq && d.napi.rung.load() == wait_rung::interrupt;
        return eventually([&] { return !owned(d) && (!interrupt || d.unmasked); });
    }
    /// Waits until everything that was queued for the CPU before is done.
    void barrier()
    {
        for (int i = 0; i < 2; ++i) {
            rt.call_on(0, [](softnet_data &) {});
        }
    }
    std::uint64_t polls() const { return dev.napi.stats.polls; }

    runtime rt{runtime_options{}};
    fake_device dev;
    std::vector<fake_device *> added;
};

std::atomic<int> handled;

// 1: a raised softirq is eventually handled.

TEST_F(property, property_1_raise_between_mask_clear_and_handler)
{
    handled = 0;
    rt.open_softirq(TASKLET_SOFTIRQ, [](softnet_data &) noexcept { handled.fetch_add(1); });
    race raised(race_point::softirq_mask_cleared, &rt.cpu(0), [&] { raise_softirq(rt.cpu(0), TASKLET_SOFTIRQ); });
    rt.call_on(0, [](softnet_data &sd) { raise_softirq(sd, TASKLET_SOFTIRQ); });
    EXPECT_TRUE(eventually([] { return handled == 2; }));
    EXPECT_TRUE(raised.happened());
}

TEST_F(property, property_1_raise_that_outlives_the_dispatch)
{
    handled = 0;
    rt.open_softirq(TASKLET_SOFTIRQ, [](softnet_data &sd) noexcept {
        if (handled.fetch_add(1) < 24) { // more than two dispatches handle
            raise_softirq(sd, TASKLET_SOFTIRQ);
        }
    });
    rt.call_on(0, [](softnet_data &sd) { raise_softirq(sd, TASKLET_SOFTIRQ); });
    EXPECT_TRUE(eventually([] { return handled == 25; }));
}

// 2: at most one poller per instance.

TEST_F(property, property_2_two_schedulers)
{
    add_software();
    bool first = false;
    bool second = false;
    {
        race both(race_point::napi_prep_loaded, &dev.napi,
                  [&] { elsewhere([&] { second = napi_schedule_prep(dev.napi); }); });
        first = napi_schedule_prep(dev.napi);
        ASSERT_TRUE(both.happened());
    }
    EXPECT_EQ(first + second, 1);
    __napi_schedule(dev.napi);
    EXPECT_TRUE(at_rest(dev));
}

TEST_F(property, property_2_schedule_while_polled)
{
    add_software();
    bool again = false;
    int calls = 0;
    dev.after_last_look = [&] {
        if (++calls == 1) {
            elsewhere([&] { again = napi_schedule_prep(dev.napi); });
        }
    };
    napi_schedule(dev.napi);
    EXPECT_TRUE(eventually([&] { return !owned(dev) && dev.polling == 0; }));
    EXPECT_FALSE(again);
    EXPECT_EQ(calls, 2);
}

TEST_F(property, property_2_timer_against_schedule)
{
    add_software();
    bool taken = false;
    race both(race_point::napi_timer_loaded, &dev.napi,
              [&] { elsewhere([&] { taken = napi_schedule_prep(dev.napi); }); });
    const std::uint64_t before = polls();
    rt.call_on(0, [&](softnet_data &sd) { sd.timers.start(dev.napi.timer, 0); });
    ASSERT_TRUE(eventually([&] { return both.happened(); }));
    barrier();
    EXPECT_TRUE(taken);
    EXPECT_EQ(polls(), before) << "the timer queued what another thread owns";
    __napi_schedule(dev.napi);
    EXPECT_TRUE(at_rest(dev));
}

TEST_F(property, property_2_busy_poller_against_schedule)
{
    add_software();
    bool taken = false;
    bool busy = true;
    race both(race_point::napi_busy_loaded, &dev.napi,
              [&] { elsewhere([&] { taken = napi_schedule_prep(dev.napi); }); });
    rt.call_on(0, [&](softnet_data &) {
        busy = napi_busy_loop(
            dev.napi, [](void *) { return true; }, nullptr);
    });
    EXPECT_TRUE(both.happened());
    EXPECT_TRUE(taken);
    EXPECT_FALSE(busy);
    __napi_schedule(dev.napi);
    EXPECT_TRUE(at_rest(dev));
}

// 3: an event after the device's last ring check is not lost.

TEST_F(property, property_3_schedule_after_the_last_look)
{
    add_software();
    race late(race_point::napi_release_loaded, &dev.napi, [&] {
        elsewhere([&] {
            dev.arrive();
            napi_schedule(dev.napi);
        });
    });
    napi_schedule(dev.napi);
    EXPECT_TRUE(received(1));
    EXPECT_TRUE(late.happened());
}

TEST_F(property, property_3_packet_while_masked)
{
    add();
    race late(race_point::napi_released, &dev.napi, [&] { elsewhere([&] { dev.arrive(); }); }); // fires no interrupt
    napi_schedule(dev.napi);
    EXPECT_TRUE(received(1));
    EXPECT_TRUE(late.happened());
    EXPECT_TRUE(at_rest(dev));
}

// 4: MISSED => SCHED at rest.

TEST_F(property, property_4_missed_between_read_and_release)
{
    add_software();
    std::uint32_t seen = 0;
    bool retaken = false;
    dev.after_last_look = [&] { elsewhere([&] { napi_schedule(dev.napi); }); }; // MISSED before the completion
    race look(race_point::napi_released, &dev.napi, [&] {
        dev.after_last_look = nullptr;
        seen = dev.napi.state;
        elsewhere([&] { retaken = napi_schedule_prep(dev.napi); });
    });
    napi_schedule(dev.napi);
    EXPECT_TRUE(eventually([&] { return look.happened() && !owned(dev); }));
    EXPECT_TRUE(seen & NAPIF_STATE_SCHED);
    EXPECT_FALSE(seen & NAPIF_STATE_MISSED);
    EXPECT_FALSE(retaken);
    EXPECT_EQ(dev.napi.state.load(), NAPIF_STATE_LISTED);
}

TEST_F(property, property_4_missed_when_busy_polling_stops)
{
    dev.napi.config.napi_defer_hard_irqs = 1;
    dev.napi.config.gro_flush_timeout = NSEC_PER_SEC;
    add_software();
    dev.waiting = 2 * BUSY_POLL_BUDGET; // both polls use their budget: the device does not complete
    std::uint32_t at_end = 0;
    const auto end = [](void *) { return true; };
    bool armed = false;
    rt.call_on(0, [&](softnet_data &) {
        dev.napi.poll = [](napi_struct &n, int budget) noexcept {
            elsewhere([&] { napi_schedule(n); });
            return fake_device::poll(n, budget);
        };
        napi_busy_loop(dev.napi, end, nullptr, true);
        dev.napi.poll = fake_device::poll;
        at_end = dev.napi.state;
        armed = dev.napi.timer.active();
    });
    EXPECT_EQ(at_end, NAPIF_STATE_LISTED);
    EXPECT_TRUE(armed) << "and the timer stands for the missed event";
    EXPECT_EQ(dev.received, 2 * BUSY_POLL_BUDGET);
}

// 5: SCHED => in exactly one place.

/// Once, completes, lets another thread schedule it, and wrongly returns its whole budget.
int poll_returns_budget_after_completing(napi_struct &n, int budget) noexcept
{
    const bool first = handled.fetch_add(1) == 0;
    if (!napi_complete_done(n, 0)) {
        return 0;
    }
    if (first) {
        elsewhere([&] { napi_schedule(n); });
        return budget;
    }
    return 0;
}

TEST_F(property, property_5_returned_budget_after_completing)
{
    handled = 0;
    dev.napi.irq = nullptr;
    add(dev, wait_rung::interrupt, poll_returns_budget_after_completing);
    EXPECT_TRUE(eventually([&] { return handled == 2 && !owned(dev); }));
    barrier();
    EXPECT_EQ(handled, 2);
    EXPECT_EQ(dev.napi.stats.driver_errors.load(), 1u);
    rt.call_on(0, [&](softnet_data &sd) {
        EXPECT_FALSE(dev.napi.listed);
        EXPECT_TRUE(sd.poll_list.empty());
    });
}

// 6: in_net_rx_action => running, or NET_RX pending.

TEST_F(property, property_6_scheduled_when_everything_was_polled)
{
    fake_device other;
    other.napi.irq = nullptr;
    other.napi.config.busy_poll = 0;
    add_software();
    add(other);
    const std::uint64_t before = other.napi.stats.polls;
    race late(race_point::net_rx_all_polled, &rt.cpu(0), [&] { napi_schedule(other.napi); }); // as a poll would
    napi_schedule(dev.napi);
    EXPECT_TRUE(eventually([&] { return other.napi.stats.polls == before + 1; }));
    EXPECT_TRUE(late.happened());
    barrier();
    rt.call_on(0, [](softnet_data &sd) { EXPECT_FALSE(sd.in_net_rx_action); });
    napi_schedule(dev.napi); // if the flag had stayed set, this would not raise NET_RX
    EXPECT_TRUE(at_rest(dev));
    napi_disable(other.napi);
    netif_napi_del(other.napi);
    added.pop_back();
}

TEST_F(property, property_6_left_over_work_keeps_net_rx_pending)
{
    add_software();
    bool flag = false;
    bool pending = false;
    rt.call_on(0, [&](softnet_data &sd) {
        dev.waiting = 2 * NAPI_POLL_WEIGHT;
        napi_schedule(dev.napi);
        sd.softirq_pending = 0;
        rt.action(NET_RX_SOFTIRQ)(sd); // polls once and leaves the rest
        flag = sd.in_net_rx_action;
        pending = sd.softirq_pending & (1U << NET_RX_SOFTIRQ);
    });
    EXPECT_TRUE(flag);
    EXPECT_TRUE(pending);
    EXPECT_TRUE(received(2 * NAPI_POLL_WEIGHT));
}

// 7: device unmasked => SCHED clear, or the MISSED path taken.

TEST_F(property, property_7_scheduled_as_the_interrupt_is_unmasked)
{
    add();
    race late(race_point::napi_unmasked, &dev.napi, [&] { elsewhere([&] { napi_schedule(dev.napi); }); });
    napi_schedule(dev.napi);
    EXPECT_TRUE(eventually([&] { return late.happened(); }));
    EXPECT_TRUE(at_rest(dev));
    EXPECT_FALSE(dev.polled_unmasked);
}

TEST_F(property, property_7_deferral_does_not_unmask)
{
    dev.napi.config.napi_defer_hard_irqs = 1;
    dev.napi.config.gro_flush_timeout = 3600 * NSEC_PER_SEC;
    add();
    std::atomic<bool> deferred{false};
    race look(race_point::napi_released, &dev.napi, [&] { deferred = true; });
    dev.arrive();
    ASSERT_TRUE(received(1));
    ASSERT_TRUE(eventually([&] { return deferred.load(); }));
    barrier();
    EXPECT_FALSE(owned(dev));
    EXPECT_FALSE(dev.unmasked);
}

// 8: napi_disable() returns => no poll until napi_enable().

TEST_F(property, property_8_disabled_between_prep_and_queue)
{
    add_software();
    ASSERT_TRUE(napi_schedule_prep(dev.napi));
    std::atomic<bool> returned{false};
    std::thread control([&] {
        napi_disable(dev.napi);
        returned = true;
    });
    EXPECT_TRUE(eventually([&] { return (dev.napi.state & NAPIF_STATE_DISABLE) || returned; }));
    barrier();
    EXPECT_FALSE(returned) << "it did not wait for the owner";
    const std::uint64_t before = polls();
    __napi_schedule(dev.napi);
    control.join();
    EXPECT_EQ(polls(), before + 1);
    barrier();
    EXPECT_EQ(polls(), before + 1);
}

TEST_F(property, property_8_device_that_never_runs_dry)
{
    static std::atomic<bool> endless;
    endless = true;
    dev.napi.irq = nullptr;
    netif_napi_add(rt.cpu(0), dev.napi, [](napi_struct &n, int budget) noexcept {
        if (!endless) {
            napi_complete_done(n, 0);
        }
        return endless ? budget : 0;
    });
    added.push_back(&dev);
    napi_enable(dev.napi);
    ASSERT_TRUE(eventually([&] { return polls() > 100; }));
    std::atomic<bool> returned{false};
    std::thread control([&] {
        napi_disable(dev.napi);
        returned = true;
    });
    EXPECT_TRUE(eventually([&] { return returned.load(); }));
    endless = false;
    control.join();
    const std::uint64_t before = polls();
    barrier();
    EXPECT_EQ(polls(), before);
}

TEST_F(property, property_8_spinner)
{
    netif_napi_add(rt.cpu(0), dev.napi, fake_device::poll, wait_rung::spin);
    napi_enable(dev.napi);
    added.push_back(&dev);
    ASSERT_TRUE(eventually([&] { return polls() > 100; }));
    napi_disable(dev.napi);
    const std::uint64_t before = polls();
    barrier();
    EXPECT_EQ(polls(), before);
}

TEST_F(property, property_8_schedule_during_and_after_disable)
{
    add();
    bool taken = true;
    race during(race_point::napi_disable_announced, &dev.napi,
                [&] { elsewhere([&] { taken = napi_schedule_prep(dev.napi); }); });
    const std::uint64_t before = polls();
    napi_disable(dev.napi);
    EXPECT_TRUE(during.happened());
    EXPECT_FALSE(taken);
    EXPECT_FALSE(dev.unmasked);
    dev.fire(); // an event that was already in flight
    EXPECT_FALSE(napi_schedule(dev.napi));
    rt.call_on(0, [&](softnet_data &) { EXPECT_FALSE(napi_schedule(dev.napi)); });
    barrier();
    EXPECT_EQ(polls(), before);
}

// 16: no lost wake-up.

TEST_F(property, property_16_published_before_the_sleep_is_announced)
{
    add_software();
    race late(race_point::idle_before_announce, &rt.cpu(0), [&] {
        elsewhere([&] {
            dev.arrive();
            napi_schedule(dev.napi);
        });
    });
    rt.call_on(0, [](softnet_data &) {});
    EXPECT_TRUE(received(1));
    EXPECT_TRUE(late.happened());
}

TEST_F(property, property_16_published_after_the_last_look)
{
    add_software();
    race late(race_point::idle_before_block, &rt.cpu(0), [&] {
        elsewhere([&] {
            dev.arrive();
            napi_schedule(dev.napi);
        });
    });
    rt.call_on(0, [](softnet_data &) {});
    EXPECT_TRUE(received(1));
    EXPECT_TRUE(late.happened());
}

TEST_F(property, property_16_calls_are_not_lost_either)
{
    for (const race_point where :
         {race_point::idle_before_announce, race_point::idle_announced, race_point::idle_before_block}) {
        handled = 0;
        call_single_data call;
        call.func = [](softnet_data &, void *) noexcept { handled.fetch_add(1); };
        race late(where, &rt.cpu(0), [&] { elsewhere([&] { call_on_async(rt.cpu(0), call); }); });
        rt.call_on(0, [](softnet_data &) {});
        EXPECT_TRUE(eventually([] { return handled == 1; }));
        EXPECT_TRUE(late.happened());
    }
}

std::atomic<bool> timer_fired;

TEST_F(property, property_16_in_mode_big)
{
    runtime big(runtime_options{.exclusion = exclusion_mode::big});
    for (const race_point where :
         {race_point::idle_before_announce, race_point::idle_announced, race_point::idle_before_block}) {
        handled = 0;
        call_single_data call;
        call.func = [](softnet_data &, void *) noexcept { handled.fetch_add(1); };
        race late(where, &big.cpu(0), [&] { elsewhere([&] { call_on_async(big.cpu(0), call); }); });
        big.call_on(0, [](softnet_data &) {});
        EXPECT_TRUE(eventually([] { return handled == 1; }));
        EXPECT_TRUE(late.happened());
    }
}

TEST_F(property, property_16_timer_of_another_thread_after_the_last_look)
{
    runtime big(runtime_options{.exclusion = exclusion_mode::big});
    timer_fired = false;
    hrtimer timer;
    timer.function = [](hrtimer &) noexcept { timer_fired = true; };
    race late(race_point::idle_before_block, &big.cpu(0), [&] {
        elsewhere([&] {
            cpu_attachment attached(big, 0);
            bh_section bh(big.cpu(0));
            bh->timers.start(timer, big.now());
        });
    });
    big.call_on(0, [](softnet_data &) {});
    EXPECT_TRUE(eventually([] { return timer_fired.load(); }));
    EXPECT_TRUE(late.happened());
}

// 23: a timer after napi_disable() never queues.

TEST_F(property, property_23_timer_runs_into_disable)
{
    add_software();
    std::thread control;
    race both(race_point::napi_timer_loaded, &dev.napi, [&] {
        control = std::thread([&] { napi_disable(dev.napi); });
        eventually([&] { return owned(dev); }); // by napi_disable(), which now waits for this CPU
    });
    const std::uint64_t before = polls();
    rt.call_on(0, [&](softnet_data &sd) { sd.timers.start(dev.napi.timer, 0); });
    ASSERT_TRUE(eventually([&] { return both.happened(); }));
    control.join();
    barrier();
    EXPECT_EQ(polls(), before);
}

TEST_F(property, property_23_timers_end_with_disable)
{
    add();
    rt.call_on(0, [&](softnet_data &sd) {
        sd.timers.start(dev.napi.timer, KTIME_MAX);
        EXPECT_TRUE(dev.napi.park.active());
    });
    napi_disable(dev.napi);
    rt.call_on(0, [&](softnet_data &) {
        EXPECT_FALSE(dev.napi.timer.active());
        EXPECT_FALSE(dev.napi.park.active());
    });
    // A timer that is started nevertheless finds the instance owned.
    const std::uint64_t before = polls();
    rt.call_on(0, [&](softnet_data &sd) { sd.timers.start(dev.napi.timer, 0); });
    barrier();
    rt.call_on(0, [&](softnet_data &) { EXPECT_FALSE(dev.napi.timer.active()); });
    EXPECT_EQ(polls(), before);
}

// 17: a tasklet never runs on two CPUs at once, and a schedule while it runs causes one more run.

struct counted_tasklet : tasklet_struct {
    std::atomic<int> runs{0};
    counted_tasklet()
    {
        func = [](tasklet_struct &t) noexcept { static_cast<counted_tasklet &>(t).runs.fetch_add(1); };
    }
};

TEST_F(property, property_17_scheduled_as_the_tasklet_starts)
{
    counted_tasklet t;
    race again(race_point::tasklet_started, &t, [&] { elsewhere([&] { tasklet_schedule(rt.cpu(0), t); }); });
    tasklet_schedule(rt.cpu(0), t);
    EXPECT_TRUE(eventually([&] { return t.runs == 2; }));
    EXPECT_TRUE(again.happened());
    tasklet_kill(t);
}

TEST_F(property, property_17_scheduled_elsewhere_as_the_tasklet_starts)
{
    runtime two(runtime_options{.cpus = std::vector<cpu_options>(2)});
    counted_tasklet t;
    int beside = 0;
    race both(race_point::tasklet_started, &t, [&] {
        tasklet_schedule(two.cpu(1), t);
        const auto tries = [&] { return two.cpu(1).stats.softirqs[TASKLET_SOFTIRQ].load(); };
        eventually([&] { return tries() > 2; });
        beside = t.runs; // the run on CPU 0 has not begun: any other run was at the same time
    });
    tasklet_schedule(two.cpu(0), t);
    EXPECT_TRUE(eventually([&] { return t.runs == 2; }));
    EXPECT_TRUE(both.happened());
    EXPECT_EQ(beside, 0);
    tasklet_kill(t);
}

TEST_F(property, property_17_disabled_as_the_tasklet_is_taken)
{
    counted_tasklet t;
    race disabled(race_point::tasklet_running, &t, [&] { tasklet_disable_nosync(t); });
    tasklet_schedule(rt.cpu(0), t);
    ASSERT_TRUE(eventually([&] { return disabled.happened(); }));
    barrier();
    EXPECT_EQ(t.runs, 0);
    tasklet_enable(t);
    tasklet_kill(t);
    EXPECT_EQ(t.runs, 1);
}

// 18: a caller that fails to claim an irq_work has written before the callback reads, and an item is on one list.

struct summing_work : irq_work {
    std::atomic<int> written{0};
    std::atomic<int> seen{0};
    std::atomic<int> runs{0};
    explicit summing_work(std::uint32_t kind = 0)
    {
        flags = kind;
        func = [](irq_work &w) noexcept {
            auto &self = static_cast<summing_work &>(w);
            self.seen.fetch_add(self.written.exchange(0));
            self.runs.fetch_add(1);
        };
    }
    /// Writes and queues. Any thread.
    bool add(softnet_data &sd)
    {
        written.fetch_add(1);
        return irq_work_queue_on(*this, sd);
    }
};

TEST_F(property, property_18_queued_as_the_callback_starts)
{
    summing_work work;
    bool again = false;
    race claimed(race_point::irq_work_started, &work, [&] { elsewhere([&] { again = work.add(rt.cpu(0)); }); });
    work.add(rt.cpu(0));
    EXPECT_TRUE(eventually([&] { return work.runs == 2; }));
    irq_work_sync(work);
    EXPECT_TRUE(again) << "PENDING is cleared before the callback";
    EXPECT_EQ(work.seen, 2);
}

TEST_F(property, property_18_queued_as_the_callback_has_ended)
{
    summing_work work;
    bool again = false;
    static std::atomic<bool> still_claimed;
    still_claimed = false;
    call_single_data look{
        .func = [](softnet_data &,
                   void *item) noexcept { still_claimed = irq_work_is_busy(*static_cast<irq_work *>(item)); },
        .arg = &work,
        .next = nullptr};
    race claimed(race_point::irq_work_ended, &work, [&] {
        elsewhere([&] { again = work.add(rt.cpu(0)); });
        call_on_async(rt.cpu(0), look); // newest first: between the end of this run and the next run
    });
    work.add(rt.cpu(0));
    EXPECT_TRUE(eventually([&] { return work.runs == 2; }));
    irq_work_sync(work);
    EXPECT_TRUE(again);
    EXPECT_TRUE(still_claimed) << "who claims it now puts it on a list twice";
    EXPECT_EQ(work.seen, 2);
}

runtime_options with_irq_workd()
{
    runtime_options options;
    options.exclusion = exclusion_mode::big;
    options.irq_workd = true;
    return options;
}

/// An item that finds others before it on the lazy list is not sent as raised work, too. The kernel patch that brought
/// irq_work/N made this mistake.
TEST_F(property, property_18_an_item_behind_others_is_on_one_list)
{
    runtime threaded(with_irq_workd());
    summing_work first, second;
    int early = 0;
    race listed(race_point::irq_work_listed, &first, [&] { // `first` is listed and has woken no thread yet
        elsewhere([&] { second.add(threaded.cpu(0)); });
        eventually([&] { return second.runs > 0; });
        early = second.runs;
    });
    first.add(threaded.cpu(0));
    EXPECT_TRUE(listed.happened());
    irq_work_sync(first);
    irq_work_sync(second);
    for (int i = 0; i < 3; ++i) {
        threaded.call_on(0, [](softnet_data &) {}); // lets any work in flight run
    }
    EXPECT_EQ(early, 1) << "the second wakes the thread itself";
    EXPECT_EQ(first.runs, 1);
    EXPECT_EQ(second.runs, 1);
}

} // namespace

} // namespace halfpoll
