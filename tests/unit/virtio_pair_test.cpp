// SPDX-License-Identifier: BSD-3-Clause
//
// A virtio_user device on the runtime and its vhost-user peer, driven by the test: the interrupt pair that needs no
// hardware.
#include "fake_port.hpp"

#include <halfpoll/eal.hpp>
#include <halfpoll/ethdev.hpp>

#include <gtest/gtest.h>

#include <cstdlib>
#include <poll.h>
#include <random>

using namespace halfpoll;
using namespace halfpoll::test;

namespace
{

constexpr unsigned POOL_PACKETS = 8191;

class virtio_pair_test : public testing::Test
{
protected:
    void SetUp() override
    {
        char dir[] = "/tmp/halfpoll-virtio-XXXXXX";
        ASSERT_NE(mkdtemp(dir), nullptr);
        dir_ = dir;
        pool_ = packet_pool_create("virtio_pair", POOL_PACKETS, 2176, 0);
        rt_ = std::make_unique<runtime>(runtime_options{});
        core_ = std::make_unique<net_core>(*rt_, pool_);
        core_->set_rx_handler([](void *, net_cpu &cpu, net_device &in, rte_mbuf **pkts,
                                 unsigned n) noexcept { dev_queue_xmit(cpu, in, pkts, n); },
                              nullptr);
        start_peer();
        net_device_options options;
        options.name = "virtio";
        options.descriptors = 256;
        dev_ =
            &core_->register_netdevice(make_ethdev_port("net_virtio_user0,path=" + dir_ + "/sock,server=1"), options);
        ASSERT_TRUE(wait_for_carrier(true));
    }
    void TearDown() override
    {
        peer_.reset();
        core_.reset();
        rt_.reset();
        EXPECT_EQ(rte_mempool_avail_count(pool_), POOL_PACKETS) << "packets leaked";
        packet_pool_free(pool_);
        unlink((dir_ + "/sock").c_str());
        EXPECT_EQ(rmdir(dir_.c_str()), 0);
    }

    void start_peer()
    {
        peer_ = make_ethdev_port("net_vhost0,iface=" + dir_ + "/sock,client=1");
        port_options options;
        options.pool = pool_;
        options.descriptors = 256;
        peer_->open(options);
    }
    /// Runs the control loop until the device has carrier, or has none, at both ends.
    bool wait_for_carrier(bool up)
    {
        return eventually([&] {
            core_->run_control();
            return dev_->carrier == up && (!peer_ || peer_->link().up == up);
        });
    }
    napi_struct &napi() { return dev_->queues[0]->napi; }
    bool asleep()
    {
        return eventually([&] { return rt_->cpu(0).sleeping.load() != 0; });
    }
    /// Sends one packet to the device and waits for its echo.
    bool echo(std::uint32_t number)
    {
        rte_mbuf *m = packet(pool_, number);
        if (peer_->tx_burst(0, &m, 1) != 1) {
            rte_pktmbuf_free(m);
            return false;
        }
        const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(2);
        rte_mbuf *back;
        while (peer_->rx_burst(0, &back, 1) == 0) {
            if (std::chrono::steady_clock::now() > deadline) {
                return false;
            }
            std::this_thread::yield();
        }
        const bool same = *rte_pktmbuf_mtod(back, std::uint32_t *) == number;
        rte_pktmbuf_free(back);
        return same;
    }

    std::string dir_;
    rte_mempool *pool_ = nullptr;
    std::unique_ptr<runtime> rt_;
    std::unique_ptr<net_core> core_;
    std::unique_ptr<port> peer_;
    net_device *dev_ = nullptr;
};

TEST_F(virtio_pair_test, AnIdleQueueBlocksOnItsInterruptAndAPacketWakesIt)
{
    ASSERT_TRUE(asleep());
    EXPECT_EQ(napi().rung, wait_rung::interrupt) << napi().rung_reason.load();
    std::this_thread::sleep_for(std::chrono::milliseconds(50)); // out of every spin
    const auto polls = napi().stats.polls.load();
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    EXPECT_LE(napi().stats.polls - polls, 1U) << "polls while nothing comes";
    for (std::uint32_t i = 0; i < 20; ++i) {
        ASSERT_TRUE(asleep());
        ASSERT_TRUE(echo(i)) << "packet " << i;
    }
    EXPECT_GE(napi().stats.interrupts, 10U);
    EXPECT_EQ(napi().stats.park_rescues, 0U);
    EXPECT_EQ(napi().rung, wait_rung::interrupt);
}

TEST_F(virtio_pair_test, NoSinglePacketIsLostWhateverTheGap)
{
    std::mt19937 random(1); // gaps from none to far above the longest spin, so that packets hit every phase of going to
                            // sleep
    std::exponential_distribution<double> gap(1.0 / 60e3);
    for (std::uint32_t i = 0; i < 5000; ++i) {
        ASSERT_TRUE(echo(i)) << "packet " << i << ", rung " << to_string(napi().rung);
        const auto until = std::chrono::steady_clock::now() + std::chrono::nanoseconds(static_cast<long>(gap(random)));
        while (std::chrono::steady_clock::now() < until) {
        }
    }
    EXPECT_EQ(napi().stats.park_rescues, 0U) << "packets waited for the safety net";
    EXPECT_EQ(napi().rung, wait_rung::interrupt) << napi().rung_reason.load();
}

TEST_F(virtio_pair_test, BurstsComeBackWholeAndInOrder)
{
    std::uint32_t next = 0, expected = 0;
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (expected < 50'000 && std::chrono::steady_clock::now() < deadline) {
        while (next < 50'000 && next - expected < 128) { // less than a ring
            rte_mbuf *m = packet(pool_, next);
            if (peer_->tx_burst(0, &m, 1) != 1) {
                rte_pktmbuf_free(m);
                break;
            }
            ++next;
        }
        rte_mbuf *back[NET_BURST];
        const unsigned n = peer_->rx_burst(0, back, NET_BURST);
        for (unsigned i = 0; i < n; ++i) {
            ASSERT_EQ(*rte_pktmbuf_mtod(back[i], std::uint32_t *), expected++);
        }
        rte_pktmbuf_free_bulk(back, n);
        if (n == 0) {
            std::this_thread::yield();
        }
    }
    EXPECT_EQ(expected, 50'000U);
}

TEST_F(virtio_pair_test, ThePeerMayGoAndComeBack)
{
    ASSERT_TRUE(echo(1));
    for (int round = 0; round < 2; ++round) {
        peer_.reset();
        ASSERT_TRUE(wait_for_carrier(false)) << "the loss of the peer was not noticed";
        EXPECT_FALSE(dev_->running);
        EXPECT_EQ(dev_->failure, "") << "no link is no failure";
        start_peer();
        ASSERT_TRUE(wait_for_carrier(true)) << "the new peer was not noticed";
        ASSERT_TRUE(asleep());
        for (std::uint32_t i = 0; i < 10; ++i) {
            ASSERT_TRUE(echo(i)) << "packet " << i << " after return " << round;
        }
    }
    EXPECT_EQ(napi().rung, wait_rung::interrupt) << napi().rung_reason.load();
}

TEST_F(virtio_pair_test, ADeviceIsRemovedWhileItsPeerSends)
{
    std::atomic<bool> stop{false};
    std::thread traffic([&] {
        while (!stop) {
            rte_mbuf *m = packet(pool_, 0);
            if (peer_->tx_burst(0, &m, 1) != 1) {
                rte_pktmbuf_free(m);
                std::this_thread::yield();
            }
            rte_mbuf *back[NET_BURST];
            rte_pktmbuf_free_bulk(back, peer_->rx_burst(0, back, NET_BURST));
        }
    });
    EXPECT_TRUE(eventually([&] { return core_->cpu(0).dev[dev_->ifindex].rx_packets > 1000; }));
    core_->unregister_netdevice(*dev_);
    stop = true;
    traffic.join();
    EXPECT_TRUE(core_->devices().empty());
    EXPECT_TRUE(eventually([&] { return !peer_->link().up; }));
}

} // namespace
