// SPDX-License-Identifier: BSD-3-Clause
//
// Packets on their way to another CPU: order, limits, counters, wake-ups, and delivery when their device is
// unregistered.
#include "backlog_rig.hpp"

#include <halfpoll/softnet_data.hpp>

#include <pthread.h>
#include <thread>

using namespace halfpoll;
using namespace halfpoll::test;

namespace
{

struct backlog_mode {
    const char *name;
    runtime_options (*options)();
};

class backlog : public backlog_rig, public testing::WithParamInterface<backlog_mode>
{
protected:
    void begin(unsigned cpus, unsigned limit = NETDEV_MAX_BACKLOG) { start(GetParam().options(), cpus, limit); }
    bool threaded() const { return rt->options().thread_backlog_napi; }
};

TEST_P(backlog, delivers_in_order_on_the_other_cpu)
{
    begin(2);
    enqueue(0, 1, packets(500));
    ASSERT_TRUE(eventually([&] { return count() == 500; }));
    EXPECT_EQ(all(), expected(1, 500));
    EXPECT_EQ(largest_burst, NET_BURST);
    EXPECT_TRUE(eventually([&] { return behind(0, 1) == 0; }));
    const backlog_stats stats = backlog_stats_of(core->cpu(1));
    EXPECT_EQ(stats.input_pkt_queue + stats.process_queue, 0U);
    EXPECT_EQ(stats.dropped, 0U);
}

TEST_P(backlog, a_burst_is_of_one_device)
{
    begin(2);
    net_device &other = add("eth1");
    std::vector<delivery> wanted;
    rt->call_on(0, [&](softnet_data &) {
        for (std::uint32_t i = 0; i < 60; ++i) {
            net_device &in = i % 3 == 0 ? other : *eth;
            enqueue_here(0, 1, in, packets(1, i));
            wanted.push_back({1, &in, i});
        }
        net_poll_end(core->cpu(0));
    });
    ASSERT_TRUE(eventually([&] { return count() == 60; }));
    EXPECT_EQ(all(), wanted);
}

TEST_P(backlog, nothing_is_seen_before_the_end_of_the_poll)
{
    begin(2);
    ASSERT_TRUE(idle(1));
    rt->call_on(0, [&](softnet_data &) {
        enqueue_here(0, 1, *eth, packets(40));
        EXPECT_EQ(backlog_tail(core->cpu(0), 1), 40U);
        EXPECT_EQ(backlog_length(core->cpu(0), 1), 40U);
        EXPECT_EQ(backlog_stats_of(core->cpu(1)).input_pkt_queue, 0U);
        EXPECT_NE(rt->cpu(1).sleeping.load(), 0U) << "kicked too early";
        net_poll_end(core->cpu(0));
    });
    EXPECT_TRUE(eventually([&] { return count() == 40; }));
}

TEST_P(backlog, one_kick_a_poll_and_none_while_it_looks)
{
    begin(2);
    ASSERT_TRUE(idle(0) && idle(1));
    const softnet_stats &stats = rt->cpu(1).stats;
    const std::uint64_t doorbells = stats.doorbells, kicks = stats.received_rps;
    std::atomic<bool> in_handler{false}, go_on{false};
    on_burst = [&](net_cpu &, unsigned) {
        in_handler = true;
        while (!go_on) {
            std::this_thread::yield();
        }
    };
    enqueue(0, 1, packets(5));
    ASSERT_TRUE(eventually([&] { return in_handler.load(); }));
    for (unsigned i = 1; i < 10; ++i) {
        enqueue(0, 1, packets(5, 5 * i));
    }
    ASSERT_TRUE(idle(0)); // the check at the end of its turn saw that CPU 1 is still polling
    EXPECT_EQ(core->cpu(1).backlog.napi.state.load() & NAPIF_STATE_MISSED, 0U) << "scheduled though it looks";
    go_on = true;
    ASSERT_TRUE(eventually([&] { return count() == 50; }));
    EXPECT_EQ(all(), expected(1, 50));
    EXPECT_EQ(stats.received_rps - kicks, threaded() ? 0U : 1U);
    EXPECT_EQ(stats.doorbells - doorbells, threaded() ? 0U : 1U);
}

TEST_P(backlog, the_head_moves_when_packets_are_delivered)
{
    begin(2);
    std::atomic<bool> in_handler{false}, go_on{false};
    on_burst = [&](net_cpu &, unsigned) {
        in_handler = true;
        while (!go_on) {
            std::this_thread::yield();
        }
    };
    enqueue(0, 1, packets(3));
    ASSERT_TRUE(eventually([&] { return in_handler.load(); }));
    EXPECT_EQ(behind(0, 1), 3U);
    EXPECT_EQ(backlog_stats_of(core->cpu(1)).process_queue, 3U);
    go_on = true;
    EXPECT_TRUE(eventually([&] { return behind(0, 1) == 0; }));
}

TEST_P(backlog, what_is_over_the_limit_is_dropped_and_counted)
{
    begin(2);
    napi_disable(core->cpu(1).backlog.napi); // the backlog delivers nothing
    enqueue(0, 1, packets(1100));
    EXPECT_EQ(behind(0, 1), 1001U) << "one more than the limit, as in the kernel";
    EXPECT_EQ(core->drops(DROP_CPU_BACKLOG), 99U);
    EXPECT_EQ(core->cpu(0).dev[eth->ifindex].rx_dropped.load(), 99U);
    backlog_stats stats = backlog_stats_of(core->cpu(1));
    EXPECT_EQ(stats.dropped, 99U);
    EXPECT_EQ(stats.input_pkt_queue, 1001U);
    EXPECT_EQ(backlog_stats_of(core->cpu(0)).dropped, 0U) << "charged to the target";
    napi_enable(core->cpu(1).backlog.napi);
    ASSERT_TRUE(eventually([&] { return count() == 1001; }));
    EXPECT_EQ(all(), expected(1, 1001));
}

TEST_P(backlog, the_limit_counts_all_producers)
{
    begin(3, 100);
    napi_disable(core->cpu(1).backlog.napi);
    enqueue(0, 1, packets(60));
    enqueue(2, 1, packets(60));
    enqueue(1, 1, packets(60));
    EXPECT_EQ(behind(0, 1), 60U);
    EXPECT_EQ(behind(2, 1), 41U);
    EXPECT_EQ(behind(1, 1), 0U);
    EXPECT_EQ(backlog_stats_of(core->cpu(1)).dropped, 79U);
    core->set_netdev_max_backlog(200);
    enqueue(1, 1, packets(60));
    EXPECT_EQ(behind(1, 1), 60U);
    napi_enable(core->cpu(1).backlog.napi);
    EXPECT_TRUE(eventually([&] { return count() == 161; }));
}

TEST_P(backlog, the_limit_has_a_range)
{
    begin(1, 5000);
    for (const unsigned wrong : {0U, core->backlog_room() + 1}) {
        try {
            core->set_netdev_max_backlog(wrong);
            ADD_FAILURE() << wrong;
        } catch (const error &e) {
            EXPECT_NE(std::string(e.what()).find("must be 1 to 5000"), std::string::npos) << e.what();
        }
        EXPECT_EQ(core->netdev_max_backlog(), 5000U);
    }
    EXPECT_THROW(net_core(*rt, pool, 1, BACKLOG_MAX + 1), error);
    EXPECT_THROW(net_core(*rt, pool, 1, 0), error);
}

/// A packet that a CPU steers to itself is delivered in the dispatch that received it.
TEST_P(backlog, local_packets_are_delivered_in_the_same_dispatch)
{
    begin(1);
    core->set_rx_handler(
        [](void *ctx, net_cpu &cpu, net_device &in, rte_mbuf **pkts, unsigned n) noexcept {
            std::uint32_t &number = *rte_pktmbuf_mtod(pkts[0], std::uint32_t *);
            if (number == 0) { // from the device
                ++number;
                enqueue_to_backlog(cpu, 0, in, pkts, n);
            } else {
                handler(ctx, cpu, in, pkts, n);
            }
        },
        this);
    ASSERT_TRUE(idle(0));
    std::uint64_t dispatches = 0;
    std::size_t delivered_at_once = 0;
    rt->call_on(0, [&](softnet_data &sd) { // schedules as the device's interrupt does, and ends the section
        wires[0]->receive(packet(pool, 0));
        const std::uint64_t before = sd.stats.softirqs[NET_RX_SOFTIRQ];
        {
            bh_section bh(sd);
            napi_schedule(eth->queues[0]->napi);
        }
        dispatches = sd.stats.softirqs[NET_RX_SOFTIRQ] - before;
        delivered_at_once = count();
    });
    EXPECT_EQ(delivered_at_once, 1U);
    EXPECT_EQ(dispatches, 1U);
    EXPECT_EQ(rt->cpu(0).stats.received_rps, 0U);
}

/// A device is unregistered while its packets wait for a CPU that takes none: they are delivered before.
TEST_P(backlog, packets_of_a_device_that_goes_are_delivered_first)
{
    begin(2);
    napi_disable(core->cpu(1).backlog.napi);
    enqueue(0, 1, packets(200));
    core->unregister_netdevice(*eth);
    EXPECT_EQ(count(), 200U);
    napi_enable(core->cpu(1).backlog.napi);
}

TEST_P(backlog, so_are_staged_ones)
{
    begin(2);
    rt->call_on(0, [&](softnet_data &) { enqueue_here(0, 1, *eth, packets(100)); }); // without the end of the poll
    core->unregister_netdevice(*eth);
    EXPECT_EQ(count(), 100U);
}

/// Every CPU sends to every CPU, itself included, in bursts and with pauses in which the targets fall asleep.
TEST_P(backlog, many_to_many_without_loss_or_reordering)
{
    constexpr unsigned cpus = 3, rounds = 60, each = 100;
    begin(cpus, 5000);
    std::vector<std::thread> producers;
    for (unsigned from = 0; from < cpus; ++from) {
        producers.emplace_back([&, from] {
            for (std::uint32_t round = 0; round < rounds; ++round) {
                rt->call_on(from, [&](softnet_data &) {
                    for (unsigned target = 0; target < cpus; ++target) {
                        enqueue_here(from, target, *eth,
                                     packets(each / 10, from << 24 | target << 20 | round * each / 10));
                    }
                    net_poll_end(core->cpu(from));
                });
                if (round % 16 == 0) {
                    std::this_thread::sleep_for(std::chrono::milliseconds(2));
                }
            }
        });
    }
    for (std::thread &t : producers) {
        t.join();
    }
    ASSERT_TRUE(eventually([&] { return count() == cpus * cpus * rounds * each / 10; })) << count();
    std::uint32_t next[cpus][cpus] = {};
    for (const delivery &d : all()) {
        const unsigned from = d.number >> 24, target = d.number >> 20 & 15;
        ASSERT_EQ(d.cpu, target);
        ASSERT_EQ(d.number & 0xFFFFF, next[from][target]++) << "reordered";
    }
    EXPECT_EQ(core->drops(DROP_CPU_BACKLOG), 0U);
}

INSTANTIATE_TEST_SUITE_P(modes, backlog,
                         testing::Values(backlog_mode{"ipi", exclusive}, backlog_mode{"thread", threaded_backlog}),
                         [](const auto &each) { return each.param.name; });

class thread_backlog_napi : public backlog_rig
{
};

std::string this_thread_name()
{
    char name[16] = {};
    pthread_getname_np(pthread_self(), name, sizeof name);
    return name;
}

TEST_F(thread_backlog_napi, packets_from_elsewhere_wake_the_thread_and_local_ones_do_not)
{
    start(threaded_backlog(), 2);
    std::string name;
    on_burst = [&](net_cpu &, unsigned) { name = this_thread_name(); };
    enqueue(0, 1, packets(1));
    ASSERT_TRUE(eventually([&] { return count() == 1; }));
    EXPECT_EQ(name, "backlog_napi/1");
    enqueue(1, 1, packets(1));
    ASSERT_TRUE(eventually([&] { return count() == 2; }));
    EXPECT_EQ(name, "hp/1");
    EXPECT_EQ(rt->cpu(1).stats.received_rps, 0U);
}

TEST_F(thread_backlog_napi, needs_mode_big)
{
    try {
        runtime(runtime_options{.thread_backlog_napi = true});
        ADD_FAILURE();
    } catch (const error &e) {
        EXPECT_STREQ(e.what(),
                     "a thread backlog_napi/N (thread_backlog_napi) makes two bottom-half threads on a CPU, which "
                     "exclusion mode exclusive does not protect: use mode big or nested");
    }
}

} // namespace
