// SPDX-License-Identifier: BSD-3-Clause
//
// Mode `nested`: two runtime CPUs of different priority on one logical CPU, and a device with one tx queue.
#include "fake_device.hpp"
#include "fake_port.hpp"
#include "priorities.hpp"
#include "refusal.hpp"

#include <halfpoll/autoscaler.hpp>
#include <halfpoll/eal.hpp>
#include <halfpoll/local_lock.hpp>
#include <halfpoll/softnet_data.hpp>
#include <halfpoll/tasklet.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <semaphore.h>
#include <utility>

using namespace halfpoll;
using namespace halfpoll::test;

namespace
{

constexpr unsigned POOL_PACKETS = 2047;
enum who : unsigned { low, high };

void detach(fake_device &dev)
{
    napi_disable(dev.napi);
    netif_napi_del(dev.napi);
    EXPECT_FALSE(dev.wrong_thread);
}

class preemption : public priority_rig
{
protected:
    /// Adds a device whose interrupt is armed as soon as it is empty.
    void attach(fake_device &dev, unsigned home)
    {
        dev.napi.config.busy_poll = 0;
        netif_napi_add(rt->cpu(home), dev.napi, fake_device::poll);
        napi_enable(dev.napi);
    }
};

class nested_test : public preemption
{
protected:
    void SetUp() override
    {
        pool_ = packet_pool_create("nested_test", POOL_PACKETS, 2176, 0, pool_users::preempted);
        start_runtime(exclusion_mode::nested, {1, 20});
        core_ = std::make_unique<net_core>(*rt, pool_);
        net_device_options dev;
        dev.name = "fake0";
        dev.napi.busy_poll = 0;
        dev_ = &core_->register_netdevice(std::make_unique<fake_port>(wire_), dev);
        ASSERT_TRUE(eventually([&] { return dev_->running.load(); }));
    }
    void TearDown() override
    {
        wire_->on_tx = nullptr;
        core_.reset();
        rt.reset();
        wire_.reset();
        EXPECT_EQ(rte_mempool_avail_count(pool_), POOL_PACKETS) << "packets leaked";
        packet_pool_free(pool_);
    }
    /// Sends from a section of runtime CPU `by`.
    void send(who by, std::uint32_t number)
    {
        rte_mbuf *m = packet(pool_, number);
        dev_queue_xmit(core_->cpu(by), *dev_, &m, 1);
        net_poll_end(core_->cpu(by));
    }
    /// A packet with a flow hash, so that it can be steered.
    rte_mbuf *udp_packet()
    {
        rte_mbuf *m = packet(pool_, 0);
        auto *f = rte_pktmbuf_mtod(m, std::uint8_t *);
        std::fill_n(f, m->data_len, std::uint8_t{1});
        f[12] = 0x08;
        f[13] = 0;
        f[14] = 0x45;
        f[20] = f[21] = 0; // not a fragment
        f[23] = 17;
        return m;
    }
    std::vector<std::uint32_t> sent()
    {
        const std::lock_guard lock(wire_->mutex);
        return wire_->sent;
    }

    std::shared_ptr<fake_wire> wire_ = std::make_shared<fake_wire>();
    rte_mempool *pool_ = nullptr;
    std::unique_ptr<net_core> core_;
    net_device *dev_ = nullptr;
};

TEST_F(nested_test, both_own_the_queue)
{
    EXPECT_EQ(rt->first_on_core(high), low);
    std::vector<unsigned> senders;
    wire_->on_tx = [&](rte_mbuf **pkts, unsigned n) {
        senders.push_back(this_softnet_data()->cpu);
        rte_pktmbuf_free_bulk(pkts, n);
    };
    for (const who whom : {low, high}) {
        EXPECT_EQ(dev_->tx[whom].owner, whom);
        EXPECT_EQ(dev_->tx[whom].queue, 0);
        on(whom, [&] { send(whom, 1); });
    }
    EXPECT_EQ(senders, (std::vector<unsigned>{low, high}));
}

/// The urgent packet leaves before a long section of the less urgent CPU continues.
TEST_F(nested_test, an_urgent_packet_leaves_amid_a_section_of_the_other)
{
    SKIP_WITHOUT_FIFO();
    wait_for_sleep();
    task urgent([&] { send(high, 20); });
    on(low, [&] {
        rte_mbuf *staged = packet(pool_, 1);
        dev_queue_xmit(core_->cpu(low), *dev_, &staged, 1);
        start(high, urgent);
        EXPECT_EQ(sent(), (std::vector<std::uint32_t>{20}));
        net_poll_end(core_->cpu(low));
    });
    EXPECT_EQ(sent(), (std::vector<std::uint32_t>{20, 1}));
}

/// Only one thread at a time is inside the driver. A thread that waits for it lends its priority, and does not count as
/// a recursion.
TEST_F(nested_test, who_is_inside_the_driver_is_boosted_until_it_leaves)
{
    SKIP_WITHOUT_FIFO();
    wait_for_sleep();
    std::vector<std::string> seen;
    bool inside = false;
    task urgent([&] { send(high, 20); });
    wire_->on_tx = [&](rte_mbuf **pkts, unsigned n) {
        EXPECT_FALSE(inside);
        inside = true;
        const unsigned by = this_softnet_data()->cpu;
        if (by == low) {
            start(high, urgent);
        }
        seen.push_back(std::to_string(by) + " at " + std::to_string(effective_priority()));
        rte_pktmbuf_free_bulk(pkts, n);
        inside = false;
    };
    on(low, [&] { send(low, 1); });
    on(high, [] {});
    EXPECT_EQ(seen, (std::vector<std::string>{"0 at -21", "1 at -21"}));
    EXPECT_EQ(core_->drops(DROP_RECURSION_LIMIT), 0u);
}

/// Only code in a section of a runtime CPU uses that CPU's cache. Not: a thread that preempts it, a thread without a
/// section, a driver that frees packets which another CPU sent.
TEST_F(nested_test, what_others_free_does_not_enter_the_cache)
{
    SKIP_WITHOUT_FIFO();
    wait_for_sleep();
    const napi_alloc_cache &mine = *core_->cpu(low).cache, &urgent = *core_->cpu(high).cache;
    rte_mbuf *pkts[4];
    const auto mine_after = [&](unsigned given) { return napi_alloc_cache::REFILL - 4 + given; };
    task preempts([&] { consume_packets(core_->cpu(high), &pkts[0], 1); });
    on(low, [&] {
        ASSERT_TRUE(core_->cpu(low).cache->alloc_raw(pkts, 4));
        for (rte_mbuf *m : pkts) {
            rte_pktmbuf_reset(m);
            rte_pktmbuf_append(m, 60);
        }
        start(high, preempts);
        EXPECT_EQ(mine.count(), mine_after(0)) << "freed by the urgent one";
    });
    {
        cpu_attachment attached(*rt, low);
        rte_pktmbuf_free(pkts[1]);
        EXPECT_EQ(mine.count(), mine_after(0)) << "freed in no section";
        bh_section bh(rt->cpu(low));
        consume_packets(core_->cpu(low), &pkts[2], 1);
        EXPECT_EQ(mine.count(), mine_after(1)) << "freed in a section";
    }
    on(high, [&] {
        dev_queue_xmit(core_->cpu(high), *dev_, &pkts[3], 1);
        net_poll_end(core_->cpu(high));
    });
    EXPECT_EQ(sent().size(), 1U);
    EXPECT_EQ(mine.count(), mine_after(1)) << "freed by the driver";
    EXPECT_EQ(urgent.count(), 1U) << "what it has freed itself";
}

TEST_F(nested_test, each_has_its_own_exclusion_and_its_own_further_threads)
{
    cpu_attachment attached(*rt, high);
    {
        bh_section bh(rt->cpu(high));
        send(high, 7);
        EXPECT_TRUE(rt->cpu(high).lock->held());
        EXPECT_NE(rt->cpu(low).lock, rt->cpu(high).lock);
        task other([&] { send(low, 8); });
        call_on_async(rt->cpu(low), other.call);
        EXPECT_TRUE(eventually([&] { return sent().size() == 2; })) << "this section does not keep it out";
    }
    EXPECT_EQ(sent(), (std::vector<std::uint32_t>{7, 8}));
}

TEST_F(nested_test, one_goes_offline_and_comes_back)
{
    for (const who gone : {low, high}) {
        rt->cpu_down(gone);
        const who left = gone == low ? high : low;
        on(left, [&] { send(left, gone); });
        rt->cpu_up(gone);
        on(gone, [&] { send(gone, 10 + gone); });
    }
    EXPECT_TRUE(eventually([&] { return sent().size() == 4; }));
    EXPECT_EQ(sent(), (std::vector<std::uint32_t>{low, 10 + low, high, 10 + high}));
}

/// In the kernel, the threads of a CPU share `in_net_rx_action` and the poll list: an instance that is scheduled while
/// another thread was preempted in net_rx_action() waits for that thread. Here both belong to the runtime CPU.
TEST_F(nested_test, an_urgent_instance_is_polled_amid_a_poll_of_the_other)
{
    SKIP_WITHOUT_FIFO();
    fake_device urgent, slow;
    attach(urgent, high);
    attach(slow, low);
    wait_for_sleep();
    task event([&] {
        urgent.waiting.fetch_add(1);
        napi_schedule(urgent.napi);
    });
    bool amid = false;
    on(low, [&] {
        slow.after_last_look = [&] {
            if (!std::exchange(amid, true)) {
                EXPECT_TRUE(rt->cpu(low).in_net_rx_action);
                start(high, event);
                EXPECT_EQ(urgent.received, 1) << "it waits for this poll";
            }
        };
    });
    slow.arrive();
    ASSERT_TRUE(eventually([&] { return slow.received == 1; }));
    detach(slow);
    EXPECT_TRUE(amid);
    detach(urgent);
}

/// Mode `big`, for comparison: the urgent thread waits for the end of the section.
TEST_F(preemption, in_mode_big_an_urgent_instance_waits)
{
    start_runtime(exclusion_mode::big, {1});
    SKIP_WITHOUT_FIFO();
    fake_device urgent, slow;
    attach(urgent, low);
    attach(slow, low);
    sem_t bell;
    sem_init(&bell, 0, 0);
    std::atomic<bool> ready{false};
    std::thread embedder([&] {
        cpu_attachment attached(*rt, low);
        EXPECT_EQ(become_fifo(pthread_self(), 20), "");
        ready = true;
        sem_wait(&bell);
        bh_section bh(rt->cpu(low));
        urgent.waiting.fetch_add(1);
        napi_schedule(urgent.napi);
    });
    ASSERT_TRUE(eventually([&] { return ready.load(); }));
    ASSERT_TRUE(eventually(others_sleep)); // `ready` is set before the system call
    bool amid = false;
    on(low, [&] {
        slow.after_last_look = [&] {
            if (!std::exchange(amid, true)) {
                sem_post(&bell);
                EXPECT_EQ(effective_priority(), -21) << "it waits for this one";
                EXPECT_EQ(urgent.received, 0);
            }
        };
    });
    slow.arrive();
    EXPECT_TRUE(eventually([&] { return urgent.received == 1; }));
    embedder.join();
    detach(slow);
    detach(urgent);
    sem_destroy(&bell);
}

/// A tasklet that runs on another CPU is retried, but not in an endless loop by a thread that keeps that CPU from
/// finishing it.
TEST_F(nested_test, a_tasklet_that_was_preempted_is_not_waited_for_by_spinning)
{
    SKIP_WITHOUT_FIFO();
    static std::function<void()> body;
    static std::atomic<unsigned> runs;
    runs = 0;
    tasklet_struct tasklet;
    tasklet.func = [](tasklet_struct &) noexcept { body(); };
    task again([&] { tasklet_schedule(rt->cpu(high), tasklet); });
    body = [&] {
        if (this_softnet_data() == &rt->cpu(low)) {
            start(high, again);
            EXPECT_EQ(runs, 0u) << "it runs beside itself";
        }
        ++runs;
    };
    wait_for_sleep();
    tasklet_schedule(rt->cpu(low), tasklet);
    EXPECT_TRUE(eventually([] { return runs == 2; }));
    tasklet_kill(tasklet);
}

/// The tasklet is disabled by a thread that cannot run while the urgent CPU is awake.
TEST_F(nested_test, a_disabled_tasklet_lets_go_of_the_logical_cpu)
{
    SKIP_WITHOUT_FIFO();
    static std::atomic<unsigned> runs;
    runs = 0;
    tasklet_struct tasklet;
    tasklet.func = [](tasklet_struct &) noexcept { ++runs; };
    tasklet_disable(tasklet);
    tasklet_hi_schedule(rt->cpu(high), tasklet);
    task enable([&] { tasklet_enable(tasklet); });
    start(low, enable);
    EXPECT_TRUE(eventually([] { return runs == 1; }));
    tasklet_kill(tasklet);
}

/// A change of the steering waits for packets in flight. Packets that the urgent queue has given to a less urgent CPU
/// arrive only while the urgent CPU sleeps.
TEST_F(nested_test, a_queue_that_pauses_for_a_change_lets_go_of_the_logical_cpu)
{
    SKIP_WITHOUT_FIFO();
    net_device_options options;
    options.name = "in";
    options.cpus = {high};
    options.napi.busy_poll = 0;
    options.rps.rps_cpus = {low};
    const auto wire = std::make_shared<fake_wire>();
    net_device &in = core_->register_netdevice(std::make_unique<fake_port>(wire), options);
    sem_t bell;
    sem_init(&bell, 0, 0);
    task stay([&] { sem_wait(&bell); });
    start(low, stay);
    wire->receive(udp_packet());
    ASSERT_TRUE(eventually([&] { return rps_counters_of(*in.queues[0]).steered == 1; })) << "and waits for low";
    rps_configure(*in.queues[0], {});
    ASSERT_TRUE(eventually([&] { // until the queue no longer waits for a moment without packets in flight, but pauses
        wire->receive(udp_packet());
        return rps_counters_of(*in.queues[0]).pauses != 0;
    }));
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    EXPECT_LT(rps_counters_of(*in.queues[0]).pauses, 5000U) << "it looks again without sleeping in between";
    sem_post(&bell);
    EXPECT_TRUE(eventually([&] { return rps_settled(*in.queues[0]); }));
    sem_destroy(&bell);
    core_->unregister_netdevice(in);
}

TEST(nested, needs_affinities)
{
    try {
        runtime(runtime_options{.exclusion = exclusion_mode::nested});
        FAIL();
    } catch (const error &e) {
        EXPECT_STREQ(e.what(),
                     "runtime CPU 0 has no affinity: in exclusion mode nested each is pinned to a logical CPU");
    }
}

TEST(nested, others_share_nothing_on_a_logical_cpu)
{
    runtime_options options;
    options.cpus = {{.affinity = first_cpu()}, {.affinity = first_cpu()}};
    runtime rt(options);
    EXPECT_EQ(rt.first_on_core(1), 1u);
}

/// Two general runtime CPUs, and an urgent one that is dedicated to a queue and shares the second one's logical CPU.
class dedicated_test : public testing::Test
{
protected:
    enum : unsigned { bulk0, bulk1, urgent };
    void SetUp() override
    {
        const std::vector<int> cpus = allowed_cpus();
        if (cpus.size() < 2) {
            GTEST_SKIP() << "two CPUs are needed";
        }
        pool_ = packet_pool_create("dedicated_test", POOL_PACKETS, 2176, 0, pool_users::preempted);
        runtime_options options;
        options.exclusion = exclusion_mode::nested;
        options.cpus = {{.affinity = cpus[0]},
                        {.affinity = cpus[1]},
                        {.affinity = cpus[1], .fifo_priority = 20, .name = "irq/a_long_name-0", .dedicated = true}};
        rt_ = std::make_unique<runtime>(options);
        core_ = std::make_unique<net_core>(*rt_, pool_);
        own_ = add("own0", {urgent});
        plain_ = add("plain0", {});
    }
    void TearDown() override
    {
        core_.reset();
        rt_.reset();
        if (pool_) {
            EXPECT_EQ(rte_mempool_avail_count(pool_), POOL_PACKETS) << "packets leaked";
            packet_pool_free(pool_);
        }
    }
    net_device *add(const std::string &name, std::vector<unsigned> cpus)
    {
        net_device_options options;
        options.name = name;
        options.cpus = std::move(cpus);
        wires_.push_back(std::make_shared<fake_wire>());
        return &core_->register_netdevice(std::make_unique<fake_port>(wires_.back()), options);
    }
    unsigned home(const net_device *dev) const { return dev->queues[0]->cpu->id; }
    std::vector<std::shared_ptr<fake_wire>> wires_;
    rte_mempool *pool_ = nullptr;
    std::unique_ptr<runtime> rt_;
    std::unique_ptr<net_core> core_;
    net_device *own_ = nullptr, *plain_ = nullptr;
};

TEST_F(dedicated_test, has_the_queue_that_names_it_and_no_other)
{
    EXPECT_EQ(rt_->general_cpus(), 2u);
    EXPECT_EQ(home(own_), urgent);
    EXPECT_EQ(home(plain_), bulk0);
    rt_->cpu_down(bulk0);
    EXPECT_EQ(home(plain_), bulk1);
    EXPECT_EQ(rt_->served_by(bulk0), bulk1);
    EXPECT_EQ(refusal([&] { rt_->cpu_down(bulk1); }),
              "runtime CPU 1 is the last one online and has to stay: the others are there for single queues only");
    rt_->cpu_up(bulk0);
    EXPECT_EQ(home(plain_), bulk0);
}

TEST_F(dedicated_test, who_is_beside_it_takes_its_queue_over)
{
    rt_->cpu_down(urgent);
    EXPECT_EQ(home(own_), bulk1);
    EXPECT_EQ(rt_->served_by(urgent), bulk1);
    rt_->cpu_down(bulk1);
    EXPECT_EQ(home(own_), bulk0);
    rt_->cpu_up(urgent);
    EXPECT_EQ(home(own_), urgent);
    rt_->cpu_up(bulk1);
}

/// The interface has one tx queue, which belongs to the logical CPU that receives from the interface.
TEST_F(dedicated_test, sends_by_its_neighbours_queue_and_for_nobody_else)
{
    EXPECT_EQ(own_->tx[urgent].owner, urgent);
    EXPECT_EQ(own_->tx[bulk1].owner, bulk1);
    EXPECT_EQ(own_->tx[bulk0].owner, bulk1) << "not at the priority of the urgent one";
    EXPECT_EQ(plain_->tx[urgent].owner, bulk0);
}

TEST_F(dedicated_test, its_thread_has_a_name_and_is_never_parked)
{
    std::string name;
    rt_->call_on(urgent, [&](softnet_data &) { std::getline(std::ifstream("/proc/thread-self/comm"), name); });
    EXPECT_EQ(name, "irq/a_long_name");
    EXPECT_EQ(rt_->options().cpus[urgent].name, name);
    EXPECT_EQ(rt_->options().cpus[bulk0].name, "hp/0");
    autoscaler scaler(*rt_);
    EXPECT_EQ(refusal([&] { scaler.set({.min_cpus = 3}); }),
              "autoscale: min_cpus must be 1 to 2, the number of runtime CPUs, not 3");
    scaler.set({.target = NSEC_PER_SEC, .settle = 0});
    ASSERT_TRUE(eventually([&] {
        scaler.look();
        return scaler.has_parked(bulk1);
    }));
    for (int i = 0; i < 3; ++i) {
        scaler.look();
    }
    EXPECT_TRUE(rt_->cpu_online(urgent) && rt_->cpu_online(bulk0));
}

TEST(nested, somebody_takes_what_is_given_to_nobody)
{
    EXPECT_THROW(runtime(runtime_options{.cpus = {cpu_options{.dedicated = true}}}), error);
}

/// A device without an interrupt that does not state how long it may wait for a poll.
TEST_F(nested_test, an_urgent_queue_that_cannot_wait_sleeps_all_the_same)
{
    SKIP_WITHOUT_FIFO();
    const auto wire = std::make_shared<fake_wire>();
    wire->has_fd = false;
    wire->descriptors = 0;
    net_device &in = core_->register_netdevice(std::make_unique<fake_port>(wire), {.name = "in", .cpus = {high}});
    EXPECT_EQ(in.queues[0]->napi.rung.load(), wait_rung::timed);
    for (int i = 1; i <= 10; ++i) {
        wire->receive(packet(pool_, 0));
        EXPECT_TRUE(eventually([&] { return core_->cpu(high).dev[in.ifindex].rx_packets.load() == unsigned(i); }));
        on(low, [] {});
    }
    core_->unregister_netdevice(in);
}

/// Without interrupts it never sleeps: the threads that share its logical CPU would never run.
TEST(nested, who_only_spins_gets_no_priority)
{
    runtime_options options;
    options.exclusion = exclusion_mode::nested;
    options.interrupts = false;
    options.cpus = {{.affinity = first_cpu()}, {.affinity = first_cpu(), .fifo_priority = 20, .name = "irq/x-0"}};
    std::string warning;
    options.warn = [&](const std::string &what) { warning = what; };
    const runtime rt(options);
    EXPECT_EQ(warning, "irq/x-0 runs without SCHED_FIFO 20: it can only spin, which would keep the other threads of "
                       "its CPU from running");
    EXPECT_EQ(rt.options().cpus[1].fifo_priority, 0);
}

} // namespace
