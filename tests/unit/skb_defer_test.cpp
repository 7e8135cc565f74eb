// SPDX-License-Identifier: BSD-3-Clause
//
// Packets that one CPU received and another one frees: the pool cache of which CPU gets them.
#include "backlog_rig.hpp"

#include <rte_mempool.h>

using namespace halfpoll;
using namespace halfpoll::test;

namespace
{

class skb_defer : public backlog_rig, public testing::WithParamInterface<bool>
{
protected:
    void begin(unsigned cpus, unsigned max)
    {
        start(GetParam() ? threaded_backlog() : exclusive(), cpus);
        core->set_rx_handler(consume, this);
        core->set_skb_defer_max(max);
    }
    /// CPU 0 receives n packets and CPU 1 frees them.
    void deliver(unsigned n)
    {
        const std::size_t before = count();
        enqueue(0, 1, packets(n));
        ASSERT_TRUE(eventually([&] { return count() == before + n && behind(0, 1) == 0; }));
    }
    std::uint64_t deferred(unsigned cpu = 1) const { return core->cpu(cpu).defer.deferred; }
    std::uint64_t over(unsigned cpu = 1) const { return core->cpu(cpu).defer.over; }
    unsigned free_in_pool() const { return rte_mempool_avail_count(pool); }

    static void consume(void *ctx, net_cpu &cpu, net_device &in, rte_mbuf **pkts, unsigned n) noexcept
    {
        skb_defer &self = *static_cast<skb_defer *>(ctx);
        if (self.on_burst) {
            self.on_burst(cpu, n);
        }
        consume_packets(cpu, pkts, n);
        const std::lock_guard lock(self.mutex);
        self.delivered.resize(self.delivered.size() + n, delivery{cpu.id, &in, 0});
    }
};

INSTANTIATE_TEST_SUITE_P(modes, skb_defer, testing::Values(false, true),
                         [](const auto &each) { return each.param ? "thread" : "ipi"; });

TEST_P(skb_defer, packets_wait_for_the_cpu_that_received_them)
{
    begin(2, 100);
    deliver(50);
    EXPECT_EQ(deferred(), 50U);
    EXPECT_EQ(free_in_pool(), POOL_PACKETS - 50) << "half of the limit was not reached: nobody was kicked";
    rt->call_on(0, [&](softnet_data &) { skb_defer_flush(core->cpu(0)); });
    EXPECT_EQ(free_in_pool(), POOL_PACKETS) << "the pool of the test has no caches";
}

TEST_P(skb_defer, half_of_the_limit_kicks_the_cpu)
{
    begin(2, 100);
    deliver(51);
    EXPECT_TRUE(eventually([&] { return free_in_pool() == POOL_PACKETS; }));
    deliver(50);
    EXPECT_EQ(free_in_pool(), POOL_PACKETS - 50);
    deliver(1);
    EXPECT_TRUE(eventually([&] { return free_in_pool() == POOL_PACKETS; }));
    EXPECT_EQ(over(), 0U);
}

TEST_P(skb_defer, over_the_limit_they_are_freed_where_they_are)
{
    begin(2, 10);
    std::atomic<bool> go{false};
    std::vector<rte_mbuf *> burst = packets(30);
    rt->call_on(0, [&](softnet_data &) { // CPU 0 cannot take packets back meanwhile
        enqueue_here(0, 1, *eth, burst);
        net_poll_end(core->cpu(0));
        go = eventually([&] { return deferred() + over() == 30; });
    });
    EXPECT_TRUE(go);
    EXPECT_EQ(deferred(), 10U);
    EXPECT_EQ(over(), 20U);
}

TEST_P(skb_defer, zero_is_off_and_takes_back_what_waits)
{
    begin(2, 100);
    deliver(20);
    EXPECT_EQ(free_in_pool(), POOL_PACKETS - 20);
    core->set_skb_defer_max(0);
    EXPECT_EQ(free_in_pool(), POOL_PACKETS);
    deliver(20);
    EXPECT_EQ(deferred(), 20U);
    EXPECT_THROW(core->set_skb_defer_max(SKB_DEFER_ROOM + 1), error);
    EXPECT_EQ(core->skb_defer_max(), 0U);
}

TEST_P(skb_defer, own_packets_and_those_of_other_pools_are_no_matter_of_others)
{
    begin(2, 100);
    enqueue(0, 0, packets(20));
    EXPECT_TRUE(eventually([&] { return count() == 20; }));
    rte_mempool *other = packet_pool_create("other", 63, 2176, 0);
    enqueue(0, 1, {packet(other, 0), packet(other, 1)});
    EXPECT_TRUE(eventually([&] { return over() == 2; }));
    EXPECT_EQ(deferred(0) + deferred(1), 0U);
    EXPECT_EQ(rte_mempool_avail_count(other), 63U);
    rt->call_on(1, [](softnet_data &) {}); // CPU 1 has left the pool
    packet_pool_free(other);
}

TEST_P(skb_defer, who_still_holds_a_packet_keeps_it)
{
    begin(2, 100);
    std::vector<rte_mbuf *> held = packets(3);
    for (rte_mbuf *m : held) {
        rte_mbuf_refcnt_update(m, 1);
    }
    enqueue(0, 1, held);
    EXPECT_TRUE(eventually([&] { return count() == 3; }));
    EXPECT_EQ(deferred() + over(), 0U);
    rte_pktmbuf_free_bulk(held.data(), 3);
}

TEST_P(skb_defer, a_cpu_that_goes_takes_its_packets_along)
{
    begin(2, 100);
    deliver(40);
    rt->cpu_down(0);
    EXPECT_EQ(free_in_pool(), POOL_PACKETS);
    EXPECT_EQ(deferred(), 40U);
    rt->cpu_up(0);
    deliver(10);
    EXPECT_EQ(deferred(), 50U) << "they go to that CPU again, which may have polled since";
}

} // namespace
