// SPDX-License-Identifier: BSD-3-Clause
//
// Threads that schedule, disable, enable, kick and call at random. Every event is counted on both sides. A lost event
// never reappears, because the safety nets (bounded park, timed sleeps) are out of reach here.
#include "../unit/fake_device.hpp"

#include <halfpoll/bh_work.hpp>
#include <halfpoll/irq_work.hpp>
#include <halfpoll/softnet_data.hpp>
#include <halfpoll/tasklet.hpp>

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <random>
#include <vector>

namespace halfpoll
{

namespace
{

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr auto DURATION = milliseconds(2500);

/// A device whose bounded park comes too late to help.
struct unaided_device : fake_device {
    explicit unaided_device(int busy_poll)
    {
        napi.park_time = 3600 * NSEC_PER_SEC;
        napi.config.busy_poll = busy_poll;
    }
};

class stress : public testing::Test
{
protected:
    stress()
    {
        for (unsigned i = 0; i < 6; ++i) {
            devices.push_back(std::make_unique<unaided_device>(i < 4 ? 0 : -1));
            if (i % 2 == 1) {
                devices[i]->napi.irq = nullptr; // comes back by napi_schedule() alone
            }
            netif_napi_add(rt.cpu(i / 2 % 2), devices[i]->napi, fake_device::poll);
            napi_enable(devices[i]->napi);
        }
    }
    ~stress() override
    {
        for (auto &dev : devices) {
            napi_disable(dev->napi);
            netif_napi_del(dev->napi);
            EXPECT_FALSE(dev->overlapped);
            EXPECT_FALSE(dev->wrong_thread);
            EXPECT_FALSE(dev->polled_unmasked);
            EXPECT_EQ(dev->napi.stats.driver_errors.load(), 0u);
            EXPECT_EQ(dev->napi.stats.park_rescues.load(), 0u);
        }
    }
    fake_device &any(std::minstd_rand &random) { return *devices[random() % devices.size()]; }
    static void send(fake_device &dev, int n)
    {
        dev.arrive(n);
        if (!dev.napi.irq) {
            napi_schedule(dev.napi);
        }
    }
    static bool over(steady_clock::time_point start) { return steady_clock::now() - start > DURATION; }

    runtime rt{runtime_options{.cpus = std::vector<cpu_options>(2)}};
    std::vector<std::unique_ptr<unaided_device>> devices;
};

/// Sleeps up to 50 us, often not at all: long enough for a CPU to fall asleep, at random distances from that moment.
void pause_at_random(std::minstd_rand &random)
{
    if (random() % 4 == 0) {
        std::this_thread::sleep_for(std::chrono::microseconds(random() % 50));
    }
}

std::atomic<std::uint64_t> calls_run;

/// A call that may be issued again once it has run.
struct counted_call : call_single_data {
    std::atomic<bool> idle{true}; ///< release after the run, pairs with the acquire before the next issue
    counted_call()
    {
        arg = this;
        func = [](softnet_data &, void *self) noexcept {
            calls_run.fetch_add(1);
            static_cast<counted_call *>(self)->idle.store(true, std::memory_order_release);
        };
    }
};

TEST_F(stress, nothing_is_lost_when_everything_happens_at_once)
{
    calls_run = 0;
    std::vector<std::atomic<int>> sent(devices.size());
    std::atomic<std::uint64_t> calls_issued{0};
    const auto start = steady_clock::now();

    const auto producer = [&](unsigned seed) {
        std::minstd_rand random(seed);
        while (!over(start)) {
            const std::size_t i = random() % devices.size();
            const int n = static_cast<int>(1 + random() % 100);
            sent[i].fetch_add(n);
            send(*devices[i], n);
            pause_at_random(random);
        }
    };
    const auto troublemaker = [&](unsigned seed) {
        std::minstd_rand random(seed);
        std::array<counted_call, 8> calls;
        while (!over(start)) {
            napi_schedule(any(random).napi);
            any(random).fire();
            kick_cpu(rt.cpu(random() % 2));
            counted_call &call = calls[random() % calls.size()];
            if (call.idle.exchange(false, std::memory_order_acquire)) { // pairs with the release after the run
                calls_issued.fetch_add(1);
                call_on_async(rt.cpu(random() % 2), call);
            }
            pause_at_random(random);
        }
        for (counted_call &call : calls) {
            EXPECT_TRUE(eventually([&] { return call.idle.load(std::memory_order_acquire); })) << "a call was lost";
        }
    };
    std::vector<std::thread> threads;
    threads.emplace_back(producer, 1);
    threads.emplace_back(producer, 2);
    threads.emplace_back(troublemaker, 3);

    std::minstd_rand random(4);
    std::uint64_t disables = 0;
    while (!over(start)) {
        fake_device &dev = any(random);
        napi_disable(dev.napi);
        const std::uint64_t polls = dev.napi.stats.polls;
        rt.call_on(random() % 2, [&](softnet_data &) { calls_run.fetch_add(1); });
        calls_issued.fetch_add(1);
        EXPECT_EQ(dev.napi.stats.polls.load(), polls) << "polled while disabled";
        napi_enable(dev.napi);
        rt.synchronize_rcu();
        ++disables;
        pause_at_random(random);
    }
    for (std::thread &t : threads) {
        t.join();
    }
    std::uint64_t total = 0;
    for (std::size_t i = 0; i < devices.size(); ++i) {
        fake_device &dev = *devices[i];
        EXPECT_TRUE(eventually([&] { return dev.received == sent[i]; })) << dev.received << " of " << sent[i];
        EXPECT_TRUE(eventually([&] { return dev.napi.state == NAPIF_STATE_LISTED; })) << dev.napi.state;
        for (unsigned cpu = 0; cpu < 2; ++cpu) {
            rt.call_on(cpu, [](softnet_data &) {}); // the poll that released it counts its packets at its end
        }
        EXPECT_EQ(dev.napi.stats.packets.load(), static_cast<std::uint64_t>(sent[i]));
        total += dev.napi.stats.packets;
    }
    EXPECT_EQ(calls_run.load(), calls_issued.load());
    EXPECT_EQ(rt.cpu(0).stats.processed + rt.cpu(1).stats.processed, total);
    std::printf("%llu packets, %llu calls, %llu disables, %llu sleeps, %llu doorbells\n",
                static_cast<unsigned long long>(total), static_cast<unsigned long long>(calls_run.load()),
                static_cast<unsigned long long>(disables),
                static_cast<unsigned long long>(rt.cpu(0).stats.sleeps + rt.cpu(1).stats.sleeps),
                static_cast<unsigned long long>(rt.cpu(0).stats.doorbells + rt.cpu(1).stats.doorbells));
}

TEST_F(stress, interrupts_are_not_lost)
{
    fake_device &dev = *devices[0];
    const auto start = steady_clock::now();
    std::minstd_rand random(5);
    int sent = 0;
    while (!over(start) || sent < 1000) {
        dev.arrive();
        ++sent;
        ASSERT_TRUE(eventually([&] { return dev.received == sent; })) << "packet " << sent;
        pause_at_random(random);
    }
}

/// Passes a token to another instance, on another CPU.
struct relay : unaided_device {
    relay *peer = nullptr;
    relay() : unaided_device(0) { napi.irq = nullptr; }
    static int pass_on(napi_struct &n, int) noexcept
    {
        relay &self = static_cast<relay &>(of(n));
        const int tokens = self.waiting.exchange(0);
        self.received.fetch_add(tokens);
        if (tokens > 0) {
            self.peer->waiting.fetch_add(tokens);
            napi_schedule(self.peer->napi);
        }
        napi_complete_done(n, tokens);
        return tokens;
    }
};

TEST(stress_wakeups, a_token_goes_round_between_sleeping_cpus)
{
    runtime rt{runtime_options{.cpus = std::vector<cpu_options>(2)}};
    relay a, b;
    a.peer = &b;
    b.peer = &a;
    netif_napi_add(rt.cpu(0), a.napi, relay::pass_on);
    netif_napi_add(rt.cpu(1), b.napi, relay::pass_on);
    napi_enable(a.napi);
    napi_enable(b.napi);
    a.waiting = 1;
    napi_schedule(a.napi);
    int last = 0;
    while (last < 20'000) { // 40,000 wake-ups; a lost one stops the token
        ASSERT_TRUE(eventually([&] { return b.received >= last + 1000; })) << "stopped after " << b.received;
        last = b.received;
    }
    napi_disable(a.napi);
    napi_disable(b.napi);
    EXPECT_EQ(a.waiting + b.waiting, 1);
    EXPECT_GT(rt.cpu(0).stats.sleeps + rt.cpu(1).stats.sleeps, 1000u) << "nobody slept: the test showed nothing";
    netif_napi_del(a.napi);
    netif_napi_del(b.napi);
}

TEST(stress_wakeups, calls_from_many_threads)
{
    runtime rt{runtime_options{.cpus = std::vector<cpu_options>(2)}};
    std::array<std::uint64_t, 2> ran{}; // by CPU; each element is written by its CPU's thread only
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < 4; ++i) {
        threads.emplace_back([&, i] {
            for (unsigned n = 0; n < 2000; ++n) {
                rt.call_on((n + i) % 2, [&](softnet_data &sd) { ++ran[sd.cpu]; });
            }
        });
    }
    for (std::thread &t : threads) {
        t.join();
    }
    EXPECT_EQ(ran[0] + ran[1], 8000u);
}

/// Counts its callbacks; may be used again when the last one has ended.
struct counted_irq_work : irq_work {
    std::atomic<int> runs{0};
    counted_irq_work()
    {
        func = [](irq_work &w) noexcept { static_cast<counted_irq_work &>(w).runs.fetch_add(1); };
    }
};
struct counted_tasklet : tasklet_struct {
    std::atomic<int> runs{0};
    counted_tasklet()
    {
        func = [](tasklet_struct &t) noexcept { static_cast<counted_tasklet &>(t).runs.fetch_add(1); };
    }
};
struct counted_bh_work : bh_work {
    std::atomic<int> runs{0};
    counted_bh_work()
    {
        func = [](bh_work &w) noexcept { static_cast<counted_bh_work &>(w).runs.fetch_add(1); };
    }
};
/// Restarts itself endlessly, on the CPU where it runs.
struct endless_timer : hrtimer {
    std::atomic<int> runs{0};
    softnet_data *home = nullptr;
    endless_timer()
    {
        function = [](hrtimer &t) noexcept {
            endless_timer &self = static_cast<endless_timer &>(t);
            self.runs.fetch_add(1);
            self.home->timers.start(self, self.home->env->now() + 50 * NSEC_PER_USEC);
        };
    }
};

class stress_hotplug : public testing::TestWithParam<bool>
{
};
std::string mode_name(const testing::TestParamInfo<bool> &mode) { return mode.param ? "big" : "exclusive"; }
INSTANTIATE_TEST_SUITE_P(modes, stress_hotplug, testing::Bool(), mode_name);

TEST_P(stress_hotplug, a_cpu_goes_and_comes_a_hundred_times)
{
    runtime_options options{.cpus = std::vector<cpu_options>(2)};
    if (GetParam()) {
        options.exclusion = exclusion_mode::big;
        options.ksoftirqd = options.irq_workd = true;
    }
    runtime rt(options);
    softnet_data &cpu = rt.cpu(1);
    unaided_device dev(0), silent(0);
    silent.napi.irq = nullptr;
    for (fake_device *each : {static_cast<fake_device *>(&dev), static_cast<fake_device *>(&silent)}) {
        netif_napi_add(cpu, each->napi, fake_device::poll);
        napi_enable(each->napi);
    }
    endless_timer timer;
    timer.home = &cpu;
    rt.call_on(1, [&](softnet_data &sd) { sd.timers.start(timer, rt.now()); });
    std::atomic<bool> stop{false};
    std::atomic<int> sent{0}, worked{0}, called{0};
    counted_irq_work irq, lazy;
    lazy.flags = IRQ_WORK_LAZY;
    counted_tasklet tasklet;
    counted_bh_work work;
    std::thread packets([&] {
        std::minstd_rand random(6);
        while (!stop) {
            sent.fetch_add(1);
            dev.arrive();
            silent.arrive();
            napi_schedule(silent.napi);
            pause_at_random(random);
        }
    });
    std::thread works([&] {
        std::minstd_rand random(7);
        while (!stop) {
            const int n = worked.fetch_add(1) + 1;
            irq_work_queue_on(irq, cpu);
            irq_work_queue_on(lazy, cpu);
            tasklet_schedule(cpu, tasklet);
            queue_bh_work(cpu, work);
            rt.call_on(1, [&](softnet_data &) { called.fetch_add(1); });
            ASSERT_TRUE(eventually([&] {
                return irq.runs == n && lazy.runs == n && tasklet.runs == n && work.runs == n;
            })) << n
                << ": " << irq.runs << " " << lazy.runs << " " << tasklet.runs << " " << work.runs;
            irq_work_sync(irq);
            irq_work_sync(lazy);
            bh_work_flush(work);
            pause_at_random(random);
        }
    });
    std::minstd_rand random(8);
    for (int i = 0; i < 100; ++i) {
        rt.cpu_down(1);
        pause_at_random(random);
        rt.cpu_up(1);
        pause_at_random(random);
    }
    const int fired = timer.runs;
    EXPECT_TRUE(eventually([&] { return timer.runs > fired; })) << "the timer was lost";
    stop = true;
    packets.join();
    works.join();
    rt.call_on(1, [&](softnet_data &sd) { EXPECT_TRUE(sd.timers.cancel(timer)); });
    EXPECT_EQ(called, worked);
    for (fake_device *each : {static_cast<fake_device *>(&dev), static_cast<fake_device *>(&silent)}) {
        EXPECT_TRUE(eventually([&] { return each->received == sent; })) << each->received << " of " << sent;
        napi_disable(each->napi);
        netif_napi_del(each->napi);
        EXPECT_FALSE(each->overlapped);
        EXPECT_FALSE(each->wrong_thread);
        EXPECT_FALSE(each->polled_unmasked);
        EXPECT_EQ(each->napi.stats.park_rescues.load(), 0u);
    }
    tasklet_kill(tasklet);
}

TEST(stress_wakeups, runtimes_come_and_go)
{
    for (int i = 0; i < 100; ++i) {
        call_single_data call;
        std::atomic<bool> ran{false};
        call.arg = &ran;
        call.func = [](softnet_data &, void *arg) noexcept { *static_cast<std::atomic<bool> *>(arg) = true; };
        {
            runtime rt{runtime_options{.cpus = std::vector<cpu_options>(2)}};
            call_on_async(rt.cpu(1), call);
        }
        ASSERT_TRUE(ran) << "a call that was issued before the end is left behind";
    }
}

} // namespace

} // namespace halfpoll
