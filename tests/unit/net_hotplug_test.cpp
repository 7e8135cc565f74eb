// SPDX-License-Identifier: BSD-3-Clause
//
// CPUs go offline and online under interfaces that carry packets: no packet is lost, and none overtakes another.
#include "net_rig.hpp"

#include <gtest/gtest.h>

#include <thread>

using namespace halfpoll;
using namespace halfpoll::test;

namespace
{

constexpr unsigned POOL_PACKETS = 8191;

class net_hotplug_test : public net_rig
{
protected:
    net_hotplug_test() : net_rig(POOL_PACKETS) {}
    void start(unsigned cpus)
    {
        net_rig::start(cpus);
        forward_to(target_);
    }
    net_device &add(const std::string &name, const std::shared_ptr<fake_wire> &w, std::vector<unsigned> cpus)
    {
        return net_rig::add(name, w, std::move(cpus), 0);
    }
    void no_drops()
    {
        for (unsigned reason = 0; reason < DROP_NETIO_MAX; ++reason) {
            EXPECT_EQ(core_->drops(reason), 0u) << to_string(static_cast<drop_reason>(reason));
        }
    }

    net_device *target_ = nullptr;
};

/// Home CPUs of the receiving and of the sending interface.
struct homes {
    unsigned in, out;
};
class net_hotplug_moves : public net_hotplug_test, public testing::WithParamInterface<homes>
{
};
std::string homes_name(const testing::TestParamInfo<homes> &h)
{
    return "in" + std::to_string(h.param.in) + "_out" + std::to_string(h.param.out);
}
INSTANTIATE_TEST_SUITE_P(net_hotplug, net_hotplug_moves,
                         testing::Values(homes{1, 1}, homes{0, 1}, homes{1, 0}, homes{1, 2}), homes_name);

TEST_P(net_hotplug_moves, no_packet_is_lost_or_overtaken)
{
    start(3);
    auto in = wire(), out = wire();
    target_ = &add("out", out, {GetParam().out});
    net_device &source = add("in", in, {GetParam().in});
    std::atomic<bool> stop{false};
    unsigned sent = 0;
    std::thread sender([&] {
        while (!stop) {
            if (sent - out->sent_count() < 512) { // a hand-over ring has 1023 entries
                in->receive(packet(pool_, sent++));
            } else {
                std::this_thread::yield();
            }
        }
    });
    for (int i = 0; i < 20; ++i) {
        for (unsigned cpu : {1U, 2U, 0U}) {
            rt_->cpu_down(cpu);
            EXPECT_NE(source.queues[0]->cpu->id, cpu);
            EXPECT_EQ(source.queues[0]->cpu->sd, source.queues[0]->napi.sd);
            for (const tx_route &route : target_->tx) {
                EXPECT_NE(route.owner, cpu);
            }
            std::this_thread::sleep_for(std::chrono::microseconds(500));
            rt_->cpu_up(cpu);
            EXPECT_EQ(source.queues[0]->cpu->id, GetParam().in);
            EXPECT_TRUE(core_->cpu(GetParam().out).xmit.queues[target_->ifindex]);
            std::this_thread::sleep_for(std::chrono::microseconds(500));
        }
    }
    EXPECT_TRUE(eventually([&] { return out->sent_count() > 1000; })); // the sender may have had little time until now
    stop = true;
    sender.join();
    expect_sent_in_order(*out, sent);
    no_drops();
}

TEST_F(net_hotplug_test, what_foreign_threads_send_keeps_its_order)
{
    start(2);
    auto out = wire();
    net_device &dev = add("out", out, {1});
    std::atomic<bool> stop{false};
    unsigned sent = 0;
    std::thread foreign([&] {
        while (!stop) {
            if (sent - out->sent_count() < 256) {
                rte_mbuf *m = packet(pool_, sent);
                sent += core_->foreign_xmit(0, dev, &m, 1);
            }
        }
    });
    for (int i = 0; i < 30; ++i) {
        rt_->cpu_down(1);
        std::this_thread::sleep_for(std::chrono::microseconds(300));
        rt_->cpu_up(1);
        std::this_thread::sleep_for(std::chrono::microseconds(300));
    }
    EXPECT_TRUE(eventually([&] { return out->sent_count() > 1000; })); // the sender may have had little time until now
    stop = true;
    foreign.join();
    expect_sent_in_order(*out, sent);
    EXPECT_EQ(core_->foreign_drops(), 0u);
    no_drops();
}

TEST_F(net_hotplug_test, an_interface_that_is_added_meanwhile_finds_its_cpu_later)
{
    start(2);
    rt_->cpu_down(1);
    auto w = wire();
    net_device &dev = add("dev", w, {1});
    target_ = &dev;
    EXPECT_EQ(dev.queues[0]->cpu->id, 0u);
    w->receive(packet(pool_, 0));
    expect_sent_in_order(*w, 1);
    rt_->cpu_up(1);
    EXPECT_EQ(dev.queues[0]->cpu->id, 1u);
    EXPECT_TRUE(core_->cpu(1).xmit.queues[dev.ifindex]);
    EXPECT_FALSE(core_->cpu(0).xmit.queues[dev.ifindex]);
    w->receive(packet(pool_, 1));
    expect_sent_in_order(*w, 2);
    rt_->cpu_down(0);
    core_->unregister_netdevice(dev); // while a CPU is offline
    EXPECT_TRUE(w->closed);
}

TEST_F(net_hotplug_test, a_core_may_begin_and_end_with_a_cpu_offline)
{
    start(2);
    core_.reset();
    rt_->cpu_down(0);
    core_ = std::make_unique<net_core>(*rt_, pool_);
    auto w = wire();
    add("dev", w, {0});
    w->receive(packet(pool_, 0));
    EXPECT_TRUE(eventually([&] { return core_->drops(DROP_NO_HANDLER) == 1; }));
}

TEST_F(net_hotplug_test, a_cpu_stays_if_packets_do_not_come_to_an_end)
{
    start(2);
    auto in = wire(), out = wire();
    target_ = &add("out", out, {1});
    net_device &source = add("in", in, {1});
    core_->elsewhere_in_flight = [] { return true; };
    try {
        rt_->cpu_down(1);
        FAIL() << "went offline";
    } catch (const error &e) {
        EXPECT_STREQ(e.what(), "runtime CPU 1 stays online: netio: packets wait for the slow path after a second; the "
                               "CPUs are too busy, or a device does not send");
    }
    core_->elsewhere_in_flight = nullptr;
    EXPECT_TRUE(rt_->cpu_online(1));
    EXPECT_EQ(source.queues[0]->cpu->id, 1u);
    in->receive(packet(pool_, 0));
    expect_sent_in_order(*out, 1);
}

TEST_F(net_hotplug_test, a_device_that_takes_nothing_costs_its_packets_and_no_more)
{
    start(2);
    auto in = wire(), out = wire();
    target_ = &add("out", out, {1});
    add("in", in, {1});
    out->room = 0;
    for (unsigned i = 0; i < 10; ++i) {
        in->receive(packet(pool_, i));
    }
    rt_->cpu_down(1);
    EXPECT_TRUE(eventually([&] { return core_->drops(DROP_TX_FULL) == 10; }));
}

} // namespace
