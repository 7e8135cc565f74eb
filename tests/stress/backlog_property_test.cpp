// SPDX-License-Identifier: BSD-3-Clause
//
// Properties of the backlog between CPUs, and of instances that threads poll. Each test forces the race that the
// property guards against (see README.md here).
#include "../unit/backlog_rig.hpp"
#include "../unit/fake_device.hpp"
#include "race.hpp"

namespace halfpoll
{

namespace
{

using test::backlog_rig;

runtime_options big()
{
    runtime_options options;
    options.exclusion = exclusion_mode::big;
    return options;
}

// 9: a backlog that has packets and is not being read is scheduled.

class property_backlog : public backlog_rig, public testing::WithParamInterface<bool>
{
protected:
    void begin(unsigned cpus) { start(GetParam() ? test::threaded_backlog() : test::exclusive(), cpus); }
};

TEST_P(property_backlog, property_9_published_as_the_target_stops_looking)
{
    begin(2);
    for (const race_point where : {race_point::napi_release_loaded, race_point::napi_released,
                                   race_point::backlog_unannounced, race_point::backlog_announced}) {
        ASSERT_TRUE(idle(1));
        const std::size_t before = count();
        {
            const void *object = where == race_point::backlog_unannounced || where == race_point::backlog_announced
                                     ? static_cast<const void *>(&core->cpu(1))
                                     : &core->cpu(1).backlog.napi;
            race late(where, object, [&] { elsewhere([&] { enqueue(0, 1, packets(3)); }); });
            enqueue(0, 1, packets(2));
            EXPECT_TRUE(test::eventually([&] { return count() == before + 5; })) << static_cast<int>(where);
            EXPECT_TRUE(late.happened());
        }
    }
}

/// 11: a flow's packets keep their order when it moves as soon as head has reached tail.
TEST_P(property_backlog, property_11_a_flow_that_moves_when_its_packets_are_delivered)
{
    begin(3);
    on_burst = [](net_cpu &cpu, unsigned) {
        if (cpu.id == 1) {
            std::this_thread::sleep_for(std::chrono::microseconds(200)); // makes CPU 1 the slower of the two
        }
    };
    std::uint32_t number = 0;
    unsigned target = 1;
    for (int moves = 0; moves < 100;) {
        rt->call_on(0, [&](softnet_data &) {
            net_cpu &cpu = core->cpu(0);
            const std::uint32_t tail = backlog_tail(cpu, target);
            if (static_cast<std::int32_t>(backlog_head(cpu, target) - tail) >= 0) {
                target = 3 - target;
                ++moves;
            } else if (tail - backlog_head(cpu, target) > 20) {
                return; // the flow waits, or it would never be able to move
            }
            enqueue_here(0, target, *eth, packets(2, number));
            net_poll_end(cpu);
            number += 2;
        });
    }
    ASSERT_TRUE(test::eventually([&] { return count() == number; }));
    std::uint32_t next = 0;
    for (const test::delivery &d : all()) {
        ASSERT_EQ(d.number, next++);
    }
}

INSTANTIATE_TEST_SUITE_P(modes, property_backlog, testing::Values(false, true),
                         [](const auto &each) { return each.param ? "thread" : "ipi"; });

// 16: no wake-up of an instance's thread is lost.

class property_threaded : public testing::Test
{
protected:
    property_threaded()
    {
        dev.napi.irq = nullptr; // only napi_schedule() brings it back
        dev.napi.config.busy_poll = 0;
        dev.napi.config.threaded = napi_threaded::enabled;
        netif_napi_add(rt.cpu(0), dev.napi, fake_device::poll);
        napi_enable(dev.napi);
        EXPECT_TRUE(at_rest());
    }
    ~property_threaded() override
    {
        napi_disable(dev.napi);
        netif_napi_del(dev.napi);
        EXPECT_FALSE(dev.overlapped);
        EXPECT_FALSE(dev.wrong_thread);
    }
    bool at_rest()
    {
        return eventually([&] { return !(dev.napi.state.load() & NAPIF_STATE_SCHED); });
    }
    bool received(int n)
    {
        return eventually([&] { return dev.received == n; });
    }
    void bring()
    {
        dev.arrive();
        napi_schedule(dev.napi);
    }

    runtime rt{big()};
    fake_device dev;
};

TEST_F(property_threaded, property_16_scheduled_when_the_thread_has_looked)
{
    race late(race_point::napi_thread_idle, &dev.napi, [&] { elsewhere([&] { bring(); }); });
    bring();
    EXPECT_TRUE(received(2));
    EXPECT_TRUE(late.happened());
}

TEST_F(property_threaded, property_16_the_thread_wakes_to_what_is_there)
{
    race slow(race_point::napi_thread_given, &dev.napi, [&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(20)); // if woken before, the thread sleeps again by now
    });
    bring();
    EXPECT_TRUE(received(1));
    EXPECT_TRUE(slow.happened());
}

} // namespace

} // namespace halfpoll
