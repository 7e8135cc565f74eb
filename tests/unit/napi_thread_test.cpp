// SPDX-License-Identifier: BSD-3-Clause
//
// Instances that have threads of their own to poll them.
#include "fake_device.hpp"

#include <halfpoll/softnet_data.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <pthread.h>
#include <sched.h>
#include <string>

namespace halfpoll
{

namespace
{

std::string this_thread_name()
{
    char name[16] = {};
    pthread_getname_np(pthread_self(), name, sizeof name);
    return name;
}

runtime_options big()
{
    runtime_options options;
    options.exclusion = exclusion_mode::big;
    return options;
}

class threaded : public testing::Test
{
protected:
    threaded()
    {
        dev.napi.config.busy_poll = 0; // each poll that finds nothing completes
        dev.napi.park_time = 3600 * NSEC_PER_SEC;
        dev.after_last_look = [this] {
            const std::lock_guard lock(mutex);
            polled_by = this_thread_name();
        };
    }
    void add(napi_threaded mode)
    {
        dev.napi.config.threaded = mode;
        netif_napi_add(rt.cpu(0), dev.napi, fake_device::poll);
        napi_enable(dev.napi);
    }
    ~threaded() override
    {
        if (!dev.napi.disabled) {
            napi_disable(dev.napi);
        }
        netif_napi_del(dev.napi);
        EXPECT_FALSE(dev.overlapped);
        EXPECT_FALSE(dev.wrong_thread);
        EXPECT_FALSE(dev.polled_unmasked);
    }
    void set(napi_threaded mode)
    {
        napi_config config = dev.napi.config;
        config.threaded = mode;
        napi_configure(dev.napi, config);
    }
    std::string poller()
    {
        const std::lock_guard lock(mutex);
        return polled_by;
    }
    bool received(int n)
    {
        return eventually([&] { return dev.received == n; });
    }

    std::mutex mutex;
    std::string polled_by;
    runtime rt{big()};
    fake_device dev;
};

TEST_F(threaded, its_thread_polls_and_waits_for_the_interrupt)
{
    add(napi_threaded::enabled);
    for (int n = 1; n <= 50; ++n) {
        ASSERT_TRUE(eventually([&] { return dev.unmasked.load(); })) << n;
        dev.arrive();
        ASSERT_TRUE(received(n)) << n;
    }
    EXPECT_EQ(poller(), "napi/fake-0");
    EXPECT_TRUE(eventually([&] { return !(dev.napi.state.load() & NAPIF_STATE_SCHED_THREADED); }));
    EXPECT_TRUE(eventually([&] { return rt.cpu(0).stats.processed == 50U; })) << rt.cpu(0).stats.processed;
}

TEST_F(threaded, busy_poll_needs_no_interrupt)
{
    add(napi_threaded::busy_poll);
    for (int n = 1; n <= 50; ++n) {
        dev.waiting.fetch_add(1); // a packet without an event
        ASSERT_TRUE(received(n)) << n;
    }
    EXPECT_FALSE(dev.unmasked);
    EXPECT_EQ(dev.napi.stats.completes, 0U);
    rt.call_on(0, [](softnet_data &) {}); // meanwhile the CPU's own thread serves calls
    set(napi_threaded::enabled);
    ASSERT_TRUE(eventually([&] { return dev.unmasked.load(); })) << "waits again";
    dev.arrive();
    EXPECT_TRUE(received(51));
}

TEST_F(threaded, is_switched_off)
{
    add(napi_threaded::enabled);
    set(napi_threaded::disabled);
    EXPECT_EQ(dev.napi.state.load() & NAPIF_STATE_THREADED, 0U);
    ASSERT_TRUE(eventually([&] { return dev.unmasked.load(); }));
    dev.arrive();
    ASSERT_TRUE(received(1));
    EXPECT_EQ(poller(), "hp/0");
}

TEST_F(threaded, a_disabled_instance_is_switched_too)
{
    add(napi_threaded::disabled);
    napi_disable(dev.napi);
    set(napi_threaded::enabled);
    napi_enable(dev.napi);
    ASSERT_TRUE(eventually([&] { return dev.unmasked.load(); }));
    dev.arrive();
    ASSERT_TRUE(received(1));
    EXPECT_EQ(poller(), "napi/fake-0");
}

/// Whichever thread polls at a time, no packet is lost and no two polls run at once.
TEST_F(threaded, is_switched_while_packets_arrive)
{
    add(napi_threaded::disabled);
    constexpr int packets = 20000;
    std::thread wire([&] {
        for (int i = 0; i < packets; ++i) {
            dev.arrive();
            if (i % 64 == 0) {
                std::this_thread::sleep_for(std::chrono::microseconds(50));
            }
        }
    });
    for (int i = 0; i < 30; ++i) {
        set(i % 3 == 0 ? napi_threaded::enabled : i % 3 == 1 ? napi_threaded::busy_poll : napi_threaded::disabled);
    }
    wire.join();
    EXPECT_TRUE(received(packets)) << dev.received;
}

/// A device that never becomes empty: the thread releases it when another thread waits for it.
TEST_F(threaded, is_disabled_under_load)
{
    add(napi_threaded::busy_poll);
    dev.waiting = 1 << 30;
    ASSERT_TRUE(eventually([&] { return dev.received > 1000; }));
    napi_disable(dev.napi);
    const int before = dev.received;
    rt.call_on(0, [](softnet_data &) {});
    EXPECT_EQ(dev.received, before);
    dev.waiting = 0;
}

TEST(threaded_priority, is_that_of_the_options)
{
    runtime_options options = big();
    options.napi_fifo_priority = 7;
    std::string warning;
    options.warn = [&](const std::string &what) { warning = what; };
    runtime rt(options);
    fake_device dev;
    std::atomic<int> policy{-1}, priority{-1};
    dev.after_last_look = [&] {
        sched_param param{};
        int found = -1;
        pthread_getschedparam(pthread_self(), &found, &param);
        priority = param.sched_priority;
        policy = found;
    };
    dev.napi.config.threaded = napi_threaded::enabled;
    dev.napi.config.busy_poll = 0;
    netif_napi_add(rt.cpu(0), dev.napi, fake_device::poll);
    napi_enable(dev.napi);
    EXPECT_TRUE(eventually([&] { return policy >= 0; }));
    napi_disable(dev.napi);
    netif_napi_del(dev.napi);
    if (warning.empty()) {
        EXPECT_EQ(policy, SCHED_FIFO);
        EXPECT_EQ(priority, 7);
    } else {
        EXPECT_EQ(warning.find("napi/fake-0 runs without SCHED_FIFO 7"), 0U) << warning;
        EXPECT_EQ(policy, SCHED_OTHER);
    }
}

TEST(threaded_refused, in_mode_exclusive)
{
    runtime rt(runtime_options{});
    fake_device dev;
    dev.napi.config.threaded = napi_threaded::enabled;
    EXPECT_THROW(netif_napi_add(rt.cpu(0), dev.napi, fake_device::poll), error);
    dev.napi.config.threaded = napi_threaded::disabled;
    netif_napi_add(rt.cpu(0), dev.napi, fake_device::poll);
    napi_enable(dev.napi);
    napi_config config = dev.napi.config;
    config.threaded = napi_threaded::busy_poll;
    config.busy_poll = 17;
    try {
        napi_configure(dev.napi, config);
        ADD_FAILURE();
    } catch (const error &e) {
        EXPECT_STREQ(e.what(),
                     "NAPI instance fake-0 cannot be threaded: its thread would be a second bottom-half thread on "
                     "runtime CPU 0, which exclusion mode exclusive does not protect: use mode big or nested");
    }
    EXPECT_EQ(dev.napi.config, napi_config{}) << "nothing changed";
    napi_disable(dev.napi);
    netif_napi_del(dev.napi);
}

} // namespace

} // namespace halfpoll
