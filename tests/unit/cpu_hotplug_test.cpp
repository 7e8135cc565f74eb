// SPDX-License-Identifier: BSD-3-Clause
#include "fake_device.hpp"
#include "no_threads.hpp"
#include "refusal.hpp"

#include <halfpoll/bh_work.hpp>
#include <halfpoll/irq_work.hpp>
#include <halfpoll/rcu.hpp>
#include <halfpoll/softnet_data.hpp>
#include <halfpoll/tasklet.hpp>

#include <gtest/gtest.h>

#include <ctime>
#include <functional>
#include <pthread.h>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace halfpoll
{

namespace
{

using test::no_threads;
using test::refusal;

TEST(runtime_start, says_whose_thread_cannot_start)
{
    const no_threads meanwhile;
    const std::string problem = refusal([] { runtime{runtime_options{}}; });
    EXPECT_NE(problem.find(" 0: cannot start its thread"), std::string::npos) << problem;
}

/// Number of runs and the CPU of the last one.
struct traced {
    std::atomic<int> runs{0};
    std::atomic<int> cpu{-1};
    void ran() noexcept
    {
        cpu = static_cast<int>(this_softnet_data()->cpu);
        runs.fetch_add(1);
    }
};
struct traced_tasklet : tasklet_struct, traced {
    traced_tasklet()
    {
        func = [](tasklet_struct &t) noexcept { static_cast<traced_tasklet &>(t).ran(); };
    }
};
struct traced_irq_work : irq_work, traced {
    explicit traced_irq_work(std::uint32_t kind = 0)
    {
        flags = kind;
        func = [](irq_work &w) noexcept { // on irq_work/N it runs in no section
            traced_irq_work &self = static_cast<traced_irq_work &>(w);
            if (this_softnet_data()) {
                self.cpu = static_cast<int>(this_softnet_data()->cpu);
            }
            self.runs.fetch_add(1);
        };
    }
};
struct traced_bh_work : bh_work, traced {
    traced_bh_work()
    {
        func = [](bh_work &w) noexcept { static_cast<traced_bh_work &>(w).ran(); };
    }
};
struct traced_timer : hrtimer, traced {
    traced_timer()
    {
        function = [](hrtimer &t) noexcept { static_cast<traced_timer &>(t).ran(); };
    }
};
struct traced_rcu : rcu_head, traced {
    static void called(rcu_head &head) noexcept { static_cast<traced_rcu &>(head).ran(); }
};

traced raised; // global, since a softirq handler has no argument
void raised_handler(softnet_data &) noexcept { raised.ran(); }

runtime_options with_cpus(unsigned n)
{
    runtime_options options;
    options.cpus.assign(n, cpu_options{});
    return options;
}

runtime_options mode_big(unsigned n)
{
    runtime_options options = with_cpus(n);
    options.exclusion = exclusion_mode::big;
    options.ksoftirqd = options.irq_workd = true;
    return options;
}

TEST(cpu_hotplug, refuses_what_makes_no_sense)
{
    runtime rt(with_cpus(2));
    EXPECT_EQ(refusal([&] { rt.cpu_down(2); }), "there is no runtime CPU 2: they are numbered 0 to 1");
    EXPECT_EQ(refusal([&] { rt.cpu_up(1); }), "runtime CPU 1 is online already");
    rt.cpu_down(1);
    EXPECT_FALSE(rt.cpu_online(1));
    EXPECT_EQ(rt.num_online_cpus(), 1u);
    EXPECT_EQ(rt.served_by(1), 0u);
    EXPECT_EQ(refusal([&] { rt.cpu_down(1); }), "runtime CPU 1 is offline already");
    EXPECT_EQ(refusal([&] { rt.cpu_down(0); }), "runtime CPU 0 is the last one online and has to stay");
    rt.cpu_up(1);
    EXPECT_TRUE(rt.cpu_online(1));
    EXPECT_EQ(rt.served_by(1), 1u);
}

TEST(cpu_hotplug, an_instance_added_to_an_offline_cpu_waits_for_it_elsewhere)
{
    runtime rt(with_cpus(2));
    rt.cpu_down(1);
    fake_device dev;
    netif_napi_add(rt.cpu(1), dev.napi, fake_device::poll);
    napi_enable(dev.napi);
    dev.arrive();
    EXPECT_TRUE(eventually([&] { return dev.received == 1; }));
    EXPECT_EQ(dev.napi.sd, &rt.cpu(0));
    rt.cpu_up(1);
    EXPECT_EQ(dev.napi.sd, &rt.cpu(1));
    napi_set_home(dev.napi, rt.cpu(0));
    rt.cpu_down(1);
    rt.cpu_up(1);
    EXPECT_EQ(dev.napi.sd, &rt.cpu(0)) << "it was moved there for good";
    dev.arrive();
    EXPECT_TRUE(eventually([&] { return dev.received == 2; }));
    napi_disable(dev.napi);
    netif_napi_del(dev.napi);
    EXPECT_FALSE(dev.wrong_thread);
}

TEST(cpu_hotplug, instances_move_with_their_interrupts_and_return)
{
    runtime rt(with_cpus(2));
    fake_device dev, disabled;
    for (fake_device *each : {&dev, &disabled}) {
        each->napi.park_time = 3600 * NSEC_PER_SEC; // no park timer rescues it
        netif_napi_add(rt.cpu(1), each->napi, fake_device::poll);
    }
    napi_enable(dev.napi);
    int sent = 0;
    const auto expect_served_by = [&](unsigned cpu) {
        EXPECT_EQ(dev.napi.sd, &rt.cpu(cpu));
        EXPECT_EQ(disabled.napi.sd, &rt.cpu(cpu));
        for (int i = 0; i < 50; ++i) {
            dev.arrive();
            ++sent;
            EXPECT_TRUE(eventually([&] { return dev.received == sent; })) << sent;
        }
    };
    expect_served_by(1);
    rt.cpu_down(1);
    expect_served_by(0);
    rt.cpu_up(1);
    expect_served_by(1);
    EXPECT_TRUE(disabled.napi.disabled);
    napi_disable(dev.napi);
    for (fake_device *each : {&dev, &disabled}) {
        netif_napi_del(each->napi);
        EXPECT_FALSE(each->wrong_thread);
        EXPECT_EQ(each->napi.stats.park_rescues.load(), 0u);
    }
}

/// Runs in each exclusion mode, and where no section can block.
class cpu_hotplug_modes : public testing::TestWithParam<int>
{
protected:
    static runtime_options options(unsigned cpus)
    {
        runtime_options o = GetParam() == 1 ? mode_big(cpus) : with_cpus(cpus);
        o.interrupts = GetParam() != 2;
        return o;
    }
};
std::string mode_name(const testing::TestParamInfo<int> &mode)
{
    constexpr const char *names[] = {"exclusive", "big", "no_interrupts"};
    return names[mode.param];
}
INSTANTIATE_TEST_SUITE_P(cpu_hotplug, cpu_hotplug_modes, testing::Values(0, 1, 2), mode_name);

TEST_P(cpu_hotplug_modes, what_comes_for_an_offline_cpu_runs_on_another)
{
    runtime rt(options(2));
    rt.open_softirq(BLOCK_SOFTIRQ, raised_handler);
    rt.cpu_down(1);
    softnet_data &off = rt.cpu(1);
    rt.call_on(1, [&](softnet_data &sd) { EXPECT_EQ(sd.cpu, 0u); });
    EXPECT_THROW(rt.call_on(1, [](softnet_data &) { throw error("thrown there"); }), error);
    raised.runs = 0;
    traced_tasklet normal, hi;
    traced_irq_work plain, hard(IRQ_WORK_HARD_IRQ), lazy(IRQ_WORK_LAZY);
    traced_bh_work work, urgent;
    for (int i = 1; i <= 20; ++i) {
        tasklet_schedule(off, normal);
        tasklet_hi_schedule(off, hi);
        for (traced_irq_work *w : {&plain, &hard, &lazy}) {
            EXPECT_TRUE(irq_work_queue_on(*w, off));
        }
        EXPECT_TRUE(queue_bh_work(off, work));
        EXPECT_TRUE(queue_bh_highpri_work(off, urgent));
        raise_softirq(off, BLOCK_SOFTIRQ);
        for (traced *each :
             std::initializer_list<traced *>{&normal, &hi, &plain, &hard, &lazy, &work, &urgent, &raised}) {
            EXPECT_TRUE(eventually([&] { return each->runs == i; })) << i;
        }
        for (irq_work *w : std::initializer_list<irq_work *>{&plain, &hard, &lazy}) {
            irq_work_sync(*w);
        }
        bh_work_flush(work);
        bh_work_flush(urgent);
    }
    for (traced *each : std::initializer_list<traced *>{&normal, &hi, &hard, &work, &urgent, &raised}) {
        EXPECT_EQ(each->cpu, 0);
    }
    tasklet_kill(normal);
    tasklet_kill(hi);
}

TEST_P(cpu_hotplug_modes, what_waits_on_a_cpu_moves_on)
{
    runtime rt(options(2));
    traced_tasklet waiting;
    traced_irq_work lazy(IRQ_WORK_LAZY);
    traced_timer timer, cancelled;
    traced_rcu rcu;
    tasklet_disable(waiting); // once scheduled, it keeps its CPU busy and does not run
    tasklet_schedule(rt.cpu(1), waiting);
    ktime_t expiry = 0;
    rt.call_on(1, [&](softnet_data &sd) {
        irq_work_queue(lazy);
        expiry = rt.now() + 200 * NSEC_PER_MSEC; // after the CPU has gone offline
        sd.timers.start(timer, expiry);
        sd.timers.start(cancelled, expiry);
        call_rcu(rcu, traced_rcu::called);
    });
    rt.cpu_down(1);
    tasklet_enable(waiting);
    rt.call_on(1, [&](softnet_data &sd) { EXPECT_TRUE(sd.timers.cancel(cancelled)); });
    for (traced *each : std::initializer_list<traced *>{&waiting, &lazy, &timer, &rcu}) {
        EXPECT_TRUE(eventually([&] { return each->runs == 1; }));
    }
    EXPECT_GE(rt.now(), expiry);
    EXPECT_EQ(timer.cpu, 0);
    EXPECT_EQ(waiting.cpu, 0);
    EXPECT_EQ(cancelled.runs, 0);
    tasklet_kill(waiting);
    irq_work_sync(lazy);
}

TEST_P(cpu_hotplug_modes, timers_return_with_their_cpu)
{
    runtime rt(options(4));
    traced_timer before, meanwhile, stays;
    const ktime_t far = rt.now() + 3600 * NSEC_PER_SEC;
    rt.call_on(1, [&](softnet_data &sd) { sd.timers.start(before, far); });
    rt.call_on(2, [&](softnet_data &sd) { sd.timers.start(stays, far); });
    rt.cpu_down(1); // the timers move to CPU 2 ...
    rt.call_on(1, [&](softnet_data &sd) {
        EXPECT_EQ(sd.cpu, 2u);
        rt.cpu(1).timers.start(meanwhile, far);
    });
    rt.cpu_down(2); // ... and on to CPU 3
    EXPECT_EQ(rt.served_by(1), 3u);
    rt.call_on(1, [&](softnet_data &sd) { EXPECT_EQ(sd.timers.next_expiry(), far); });
    rt.cpu_up(2); // CPU 1's timers are back here, where calls for CPU 1 are served
    EXPECT_EQ(rt.served_by(1), 2u);
    rt.call_on(3, [&](softnet_data &sd) { EXPECT_EQ(sd.timers.next_expiry(), KTIME_MAX); });
    rt.cpu_up(1);
    rt.call_on(1, [&](softnet_data &sd) {
        EXPECT_EQ(sd.cpu, 1u);
        EXPECT_TRUE(sd.timers.cancel(before));
        EXPECT_TRUE(sd.timers.cancel(meanwhile));
        EXPECT_EQ(sd.timers.next_expiry(), KTIME_MAX);
    });
    rt.call_on(2, [&](softnet_data &sd) { EXPECT_TRUE(sd.timers.cancel(stays)); });
}

TEST_P(cpu_hotplug_modes, all_but_one_go_and_come)
{
    runtime rt(options(4));
    fake_device dev;
    dev.napi.park_time = 3600 * NSEC_PER_SEC;
    netif_napi_add(rt.cpu(0), dev.napi, fake_device::poll);
    napi_enable(dev.napi);
    traced_tasklet tasklet;
    int n = 0;
    const auto works = [&](unsigned server) {
        dev.arrive();
        tasklet_schedule(rt.cpu(0), tasklet);
        ++n;
        EXPECT_TRUE(eventually([&] { return dev.received == n && tasklet.runs == n; }));
        EXPECT_EQ(dev.napi.sd, &rt.cpu(server));
        EXPECT_EQ(tasklet.cpu, static_cast<int>(server));
    };
    for (unsigned cpu = 0; cpu < 3; ++cpu) {
        rt.cpu_down(cpu);
        works(cpu + 1);
    }
    for (unsigned cpu : {1U, 2U}) {
        rt.cpu_up(cpu);
    }
    rt.cpu_up(0);
    works(0);
    napi_disable(dev.napi);
    netif_napi_del(dev.napi);
    tasklet_kill(tasklet);
    EXPECT_FALSE(dev.wrong_thread);
}

TEST_P(cpu_hotplug_modes, a_runtime_may_end_with_cpus_offline)
{
    traced_irq_work work;
    {
        runtime rt(options(3));
        rt.cpu_down(0);
        rt.cpu_down(1);
        irq_work_queue_on(work, rt.cpu(0));
    }
    EXPECT_EQ(work.runs, 1);
}

/// Components whose calls are noted, and may be refused.
class cpu_hotplug_steps : public testing::Test
{
protected:
    cpuhp_step step(const std::string &name)
    {
        const auto note = [this, name](const char *what, bool may_object) {
            return [this, name, what, may_object](unsigned cpu) {
                const std::string event = name + " " + what + " " + std::to_string(cpu);
                log.push_back(event);
                if (may_object && objections.contains(event)) {
                    throw error("no");
                }
            };
        };
        return cpuhp_step{name, note("prepare", true), note("online", true), note("offline", true),
                          note("dead", false)};
    }
    /// Expects these calls since the last time.
    void expect(const std::vector<std::string> &calls) { EXPECT_EQ(std::exchange(log, {}), calls); }

    runtime rt{with_cpus(2)};
    std::vector<std::string> log;
    std::set<std::string> objections; ///< calls that throw
};

TEST_F(cpu_hotplug_steps, are_called_in_order_and_undone)
{
    const unsigned a = rt.cpuhp_setup_state(step("a"));
    rt.cpuhp_setup_state(step("b"));
    rt.cpu_down(1);
    expect({"b offline 1", "a offline 1", "b dead 1", "a dead 1"});
    rt.cpu_up(1);
    expect({"a prepare 1", "b prepare 1", "a online 1", "b online 1"});

    objections = {"a offline 1"};
    EXPECT_EQ(refusal([&] { rt.cpu_down(1); }), "runtime CPU 1 stays online: a: no");
    expect({"b offline 1", "a offline 1", "b online 1"});
    EXPECT_TRUE(rt.cpu_online(1));
    rt.call_on(1, [](softnet_data &sd) { EXPECT_EQ(sd.cpu, 1u); });

    objections = {};
    rt.cpu_down(1);
    log.clear();
    objections = {"b prepare 1"};
    EXPECT_EQ(refusal([&] { rt.cpu_up(1); }), "runtime CPU 1 stays offline: b: no");
    expect({"a prepare 1", "b prepare 1", "a dead 1"});
    objections = {"b online 1"};
    EXPECT_EQ(refusal([&] { rt.cpu_up(1); }), "runtime CPU 1 stays offline: b: no");
    expect({"a prepare 1", "b prepare 1", "a online 1", "b online 1", "a offline 1", "b dead 1", "a dead 1"});
    EXPECT_FALSE(rt.cpu_online(1));
    rt.call_on(1, [](softnet_data &sd) { EXPECT_EQ(sd.cpu, 0u); });

    rt.cpuhp_remove_state(a);
    objections = {};
    rt.cpu_up(1);
    expect({"b prepare 1", "b online 1"});
}

/// A component that cannot leave a CPU keeps it online, also when another one could not come.
TEST_F(cpu_hotplug_steps, one_that_cannot_leave_again_keeps_the_cpu_online)
{
    for (const char *name : {"a", "b", "c"}) {
        rt.cpuhp_setup_state(step(name));
    }
    rt.cpu_down(1);
    log.clear();
    objections = {"c online 1", "a offline 1"};
    EXPECT_EQ(refusal([&] { rt.cpu_up(1); }), "c: no; runtime CPU 1 stays online: a: no");
    expect({"a prepare 1", "b prepare 1", "c prepare 1", "a online 1", "b online 1", "c online 1", "b offline 1",
            "a offline 1", "b online 1"});
    EXPECT_TRUE(rt.cpu_online(1));
    rt.call_on(1, [](softnet_data &sd) { EXPECT_EQ(sd.cpu, 1u); });
    objections = {};
    rt.cpu_down(1);
    rt.cpu_up(1);
    EXPECT_TRUE(rt.cpu_online(1));
}

TEST_F(cpu_hotplug_steps, one_that_does_not_return_keeps_no_other_from_it)
{
    for (const char *name : {"a", "b", "c"}) {
        rt.cpuhp_setup_state(step(name));
    }
    objections = {"a offline 1", "b online 1"};
    EXPECT_EQ(refusal([&] { rt.cpu_down(1); }), "runtime CPU 1 stays online: a: no; b is not online again: no");
    expect({"c offline 1", "b offline 1", "a offline 1", "b online 1", "c online 1"});
    EXPECT_TRUE(rt.cpu_online(1));
    rt.call_on(1, [](softnet_data &sd) { EXPECT_EQ(sd.cpu, 1u); });
}

TEST(cpu_hotplug, a_thread_that_attaches_as_the_cpu_comes_keeps_it_online)
{
    runtime rt(mode_big(2));
    std::atomic<bool> attached{false}, done{false};
    std::thread other;
    rt.cpu_down(1);
    rt.cpuhp_setup_state({.name = "a", .online = [&](unsigned cpu) {
                              other = std::thread([&, cpu] {
                                  cpu_attachment here(rt, cpu);
                                  attached = true;
                                  eventually([&] { return done.load(); });
                              });
                              EXPECT_TRUE(eventually([&] { return attached.load(); }));
                              throw error("no");
                          }});
    EXPECT_EQ(refusal([&] { rt.cpu_up(1); }), "a: no; runtime CPU 1 stays online: threads are attached to it");
    EXPECT_TRUE(rt.cpu_online(1));
    done = true;
    other.join();
}

TEST(cpu_hotplug, an_attached_thread_keeps_its_cpu_online)
{
    runtime rt(mode_big(2));
    std::atomic<int> stage{0};
    std::thread attached([&] {
        cpu_attachment here(rt, 1);
        stage = 1;
        eventually([&] { return stage == 2; });
    });
    ASSERT_TRUE(eventually([&] { return stage == 1; }));
    EXPECT_EQ(refusal([&] { rt.cpu_down(1); }), "runtime CPU 1 stays online: threads are attached to it");
    EXPECT_TRUE(rt.cpu_online(1));
    stage = 2;
    attached.join();
    rt.cpu_down(1);
    std::thread([&] {
        EXPECT_EQ(refusal([&] { cpu_attachment here(rt, 1); }),
                  "runtime CPU 1 is offline: nothing can be attached to it");
    }).join();
}

TEST(cpu_hotplug, further_threads_work_again_after_their_return)
{
    runtime rt(mode_big(2));
    for (int i = 1; i <= 20; ++i) {
        rt.cpu_down(1);
        rt.cpu_up(1);
        traced_irq_work work;
        irq_work_queue_on(work, rt.cpu(1)); // runs on irq_work/1
        EXPECT_TRUE(eventually([&] { return work.runs == 1; }));
        irq_work_sync(work);
    }
}

TEST(cpu_hotplug, a_parked_thread_costs_nothing)
{
    for (const bool interrupts : {true, false}) {
        runtime_options options = with_cpus(2);
        options.interrupts = interrupts;
        runtime rt(options);
        clockid_t clock{};
        rt.call_on(1, [&](softnet_data &) { pthread_getcpuclockid(pthread_self(), &clock); });
        rt.cpu_down(1);
        const auto used = [&] {
            timespec now{};
            clock_gettime(clock, &now);
            return now.tv_sec * NSEC_PER_SEC + now.tv_nsec;
        };
        const ktime_t before = used();
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
        EXPECT_LT(used() - before, NSEC_PER_MSEC);
    }
}

} // namespace

} // namespace halfpoll
