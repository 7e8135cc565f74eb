// SPDX-License-Identifier: BSD-3-Clause
//
// virtio_user and vhost-user: the pair with interrupts that needs no hardware. One end is a device on the runtime; the
// other end is its peer, which the test drives.
#include "child_process.hpp"
#include "fake_port.hpp"

#include <halfpoll/eal.hpp>
#include <halfpoll/ethdev.hpp>
#include <halfpoll/softnet_data.hpp>

#include <gtest/gtest.h>
#include <rte_ethdev.h>

#include <sys/socket.h>
#include <sys/un.h>

#include <poll.h>
#include <sched.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>

using namespace halfpoll;
using namespace halfpoll::test;

namespace
{

constexpr unsigned POOL_PACKETS = 8191;

/// An echo on the runtime, and a folder for the socket of its device.
class echo_test : public testing::Test
{
protected:
    void SetUp() override
    {
        char dir[] = "/tmp/halfpoll-virtio-XXXXXX";
        ASSERT_NE(mkdtemp(dir), nullptr);
        dir_ = dir;
        pool_ = packet_pool_create("virtio_pair", POOL_PACKETS, 2176, 0);
        rt_ = std::make_unique<runtime>(options());
        core_ = std::make_unique<net_core>(*rt_, pool_);
        core_->set_rx_handler([](void *, net_cpu &cpu, net_device &in, rte_mbuf **pkts,
                                 unsigned n) noexcept { dev_queue_xmit(cpu, in, pkts, n); },
                              nullptr);
    }
    void TearDown() override
    {
        core_.reset();
        rt_.reset();
        EXPECT_EQ(rte_mempool_avail_count(pool_), POOL_PACKETS) << "packets leaked";
        packet_pool_free(pool_);
        unlink((dir_ + "/sock").c_str());
        EXPECT_EQ(rmdir(dir_.c_str()), 0);
    }

    virtual runtime_options options() const { return {}; }
    void add_device(const std::string &devargs)
    {
        net_device_options dev;
        dev.name = "virtio";
        dev.descriptors = 256;
        dev_ = &core_->register_netdevice(make_ethdev_port(devargs), dev);
    }
    /// Runs the control loop until the device has carrier (`up`) or has lost it.
    bool wait_for_carrier(bool up)
    {
        return eventually([&] {
            core_->run_control();
            return dev_->carrier == up;
        });
    }
    napi_struct &napi() { return dev_->queues[0]->napi; }
    bool asleep()
    {
        return eventually([&] { return rt_->cpu(0).sleeping.load() != 0; });
    }

    std::string dir_;
    rte_mempool *pool_ = nullptr;
    std::unique_ptr<runtime> rt_;
    std::unique_ptr<net_core> core_;
    net_device *dev_ = nullptr;
};

/// The device is virtio_user, the server of the pair. Its peer is in this process.
class virtio_pair_test : public echo_test
{
protected:
    void SetUp() override
    {
        echo_test::SetUp();
        start_peer();
        add_device("net_virtio_user0,path=" + dir_ + "/sock,server=1");
        ASSERT_TRUE(wait_for_link(true));
    }
    void TearDown() override
    {
        peer_.reset();
        echo_test::TearDown();
    }

    void start_peer()
    {
        peer_ = make_ethdev_port("net_vhost0,iface=" + dir_ + "/sock,client=1");
        port_options options;
        options.pool = pool_;
        options.descriptors = 256;
        peer_->open(options);
    }
    bool wait_for_link(bool up)
    {
        return wait_for_carrier(up) && eventually([&] { return !peer_ || peer_->link().up == up; });
    }
    /// Sends one packet to the device and waits for its echo.
    bool echo(std::uint32_t number)
    {
        rte_mbuf *m = packet(pool_, number);
        if (peer_->tx_burst(0, &m, 1) != 1) {
            rte_pktmbuf_free(m);
            return false;
        }
        const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
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

    std::unique_ptr<port> peer_;
};

TEST_F(virtio_pair_test, AnIdleQueueBlocksOnItsInterruptAndAPacketWakesIt)
{
    ASSERT_TRUE(asleep());
    EXPECT_EQ(napi().rung, wait_rung::interrupt) << napi().rung_reason.load();
    std::this_thread::sleep_for(std::chrono::milliseconds(50)); // until every spin has ended
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
    // Gaps from none to far above the longest spin, so that packets hit every phase of going to sleep.
    std::mt19937 random(1);
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
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(120);
    while (expected < 50'000 && std::chrono::steady_clock::now() < deadline) {
        while (next < 50'000 && next - expected < 128) { // fewer than a ring holds
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
        ASSERT_TRUE(wait_for_link(false)) << "the loss of the peer was not noticed";
        EXPECT_FALSE(dev_->running);
        EXPECT_EQ(dev_->failure, "") << "no link is no failure";
        start_peer();
        ASSERT_TRUE(wait_for_link(true)) << "the new peer was not noticed";
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

TEST_F(virtio_pair_test, PeersThatLeaveWhileTheyConnectDoNotEndTheProcess)
{
    peer_.reset();
    ASSERT_TRUE(wait_for_link(false));
    sockaddr_un to{.sun_family = AF_UNIX};
    std::snprintf(to.sun_path, sizeof to.sun_path, "%s/sock", dir_.c_str());
    // More than the listen queue holds: the driver has accepted and answered most of them.
    for (int i = 0; i < 10; ++i) {
        const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ASSERT_GE(fd, 0);
        const timeval limit{.tv_sec = 5};
        EXPECT_EQ(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit), 0);
        EXPECT_EQ(connect(fd, reinterpret_cast<sockaddr *>(&to), sizeof to), 0);
        close(fd);
    }
    EXPECT_FALSE(dev_->carrier);
}

/// Keeps the packets that the device receives, so that its pool becomes empty. The peer has a pool of its own.
class virtio_hoard_test : public echo_test
{
protected:
    void SetUp() override
    {
        echo_test::SetUp();
        core_->set_rx_handler(
            [](void *ctx, net_cpu &, net_device &, rte_mbuf **pkts, unsigned n) noexcept {
                auto *self = static_cast<virtio_hoard_test *>(ctx);
                const std::lock_guard lock(self->mutex_);
                self->kept_.insert(self->kept_.end(), pkts, pkts + n);
            },
            this);
        peer_pool_ = packet_pool_create("virtio_hoard_peer", 1023, 2176, 0);
        peer_ = make_ethdev_port("net_vhost0,iface=" + dir_ + "/sock,client=1");
        peer_->open({.descriptors = 256, .pool = peer_pool_});
        add_device("net_virtio_user0,path=" + dir_ + "/sock,server=1");
        ASSERT_TRUE(wait_for_carrier(true) && eventually([&] { return peer_->link().up; }));
    }
    void TearDown() override
    {
        peer_.reset();
        core_.reset();
        free_kept();
        packet_pool_free(peer_pool_);
        echo_test::TearDown();
    }
    void send()
    {
        rte_mbuf *m = packet(peer_pool_, 0);
        if (peer_->tx_burst(0, &m, 1) != 1) {
            rte_pktmbuf_free(m);
        }
    }
    std::size_t kept()
    {
        const std::lock_guard lock(mutex_);
        return kept_.size();
    }
    void take_the_rest()
    {
        const std::lock_guard lock(mutex_);
        for (rte_mbuf *m = rte_pktmbuf_alloc(pool_); m; m = rte_pktmbuf_alloc(pool_)) {
            kept_.push_back(m);
        }
    }
    void free_kept()
    {
        const std::lock_guard lock(mutex_);
        rte_pktmbuf_free_bulk(kept_.data(), static_cast<unsigned>(kept_.size()));
        kept_.clear();
    }

    rte_mempool *peer_pool_ = nullptr;
    std::unique_ptr<port> peer_;
    std::mutex mutex_;
    std::vector<rte_mbuf *> kept_; ///< protected by mutex_
};

TEST_F(virtio_hoard_test, ReceivesAgainWhenAnExhaustedPoolHasBuffers)
{
    rt_->call_on(0, [&](softnet_data &) { napi().park_time = 3600 * NSEC_PER_SEC; }); // no park timer rescues it
    for (int round = 0; round < 2; ++round) {
        take_the_rest();
        ASSERT_TRUE(eventually([&] {
            send();
            return kept() == POOL_PACKETS;
        })) << kept();
        ASSERT_TRUE(eventually([&] { return !(napi().state & NAPIF_STATE_SCHED); }));
        free_kept();
        EXPECT_TRUE(eventually([&] {
            send();
            return kept() > 0;
        })) << "round "
            << round;
        EXPECT_EQ(napi().rung, wait_rung::interrupt) << napi().rung_reason.load();
    }
}

/// The device is vhost. Its peers are processes of their own, as virtual machines are.
class vhost_test : public echo_test
{
protected:
    /// Expects that each packet of the peer, which waits for the echo, wakes the sleeping queue by its interrupt.
    void expect_echoes(child_process &peer)
    {
        for (int i = 0; i < 20; ++i) {
            ASSERT_TRUE(asleep());
            ASSERT_EQ(peer.ask(std::to_string(i)), "back") << "packet " << i;
        }
        EXPECT_EQ(napi().stats.park_rescues, 0U) << "packets waited for the safety net";
        EXPECT_EQ(napi().rung, wait_rung::interrupt) << napi().rung_reason.load();
    }
};

TEST_F(vhost_test, PeersComeAndGo)
{
    add_device("net_vhost0,iface=" + dir_ + "/sock");
    EXPECT_FALSE(dev_->carrier);
    for (int round = 0; round < 3; ++round) {
        child_process peer("virtio_peer", "net_virtio_user0,path=" + dir_ + "/sock");
        ASSERT_EQ(peer.ask("up"), "up") << "peer " << round;
        ASSERT_TRUE(wait_for_carrier(true));
        expect_echoes(peer);
        EXPECT_EQ(peer.end(), 0) << "the peer does not close its device";
        ASSERT_TRUE(wait_for_carrier(false));
    }
}

/// A link-state callback that keeps EAL's interrupt thread for 200 ms.
struct slow_link_callback {
    static int run(std::uint16_t, rte_eth_event_type, void *self, void *)
    {
        static_cast<slow_link_callback *>(self)->entered = true;
        // close() of a driver that does not wait returns within this time.
        std::this_thread::sleep_for(std::chrono::milliseconds(200));
        return 0;
    }
    std::atomic<bool> entered{false};
};

TEST_F(echo_test, AFrontEndIsClosedWhileItsInterruptCallbackRuns)
{
    const port_options options{.descriptors = 256, .pool = pool_};
    auto back_end = make_ethdev_port("net_vhost0,iface=" + dir_ + "/sock");
    back_end->open(options);
    auto front_end = make_ethdev_port("net_virtio_user0,path=" + dir_ + "/sock");
    front_end->open(options);
    ASSERT_TRUE(eventually([&] { return front_end->link().up; }));
    slow_link_callback callback;
    std::uint16_t id;
    ASSERT_EQ(rte_eth_dev_get_port_by_name("net_virtio_user0", &id), 0);
    ASSERT_EQ(rte_eth_dev_callback_register(id, RTE_ETH_EVENT_INTR_LSC, slow_link_callback::run, &callback), 0);
    back_end.reset();
    ASSERT_TRUE(eventually([&] { return callback.entered.load(); }));
    front_end->close();
    EXPECT_EQ(rte_eth_dev_callback_unregister(id, RTE_ETH_EVENT_INTR_LSC, slow_link_callback::run, &callback), 0)
        << "the callback still runs";
}

/// The driver's thread shares the CPU of the data CPU's thread, which preempts it as soon as it has raised the
/// interrupt: in the middle of the driver's new_device(), which masks the interrupt at its end.
class preempted_vhost_test : public vhost_test
{
protected:
    runtime_options options() const override
    {
        runtime_options o;
        o.cpus = {{.affinity = cpu_, .fifo_priority = 10}};
        o.warn = [](const std::string &line) { ADD_FAILURE() << line; }; // SCHED_FIFO must not be refused
        return o;
    }
    /// Pins the driver's thread, which the driver keeps when its last device is closed.
    void pin_driver() const
    {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET(static_cast<unsigned>(cpu_), &set);
        int pinned = 0;
        for (const auto &task : std::filesystem::directory_iterator("/proc/self/task")) {
            std::string name;
            std::ifstream(task.path() / "comm") >> name;
            if (name == "vhost-events" || name == "dpdk-vhost-evt") { // "dpdk-vhost-evt" since DPDK 23.11
                ASSERT_EQ(sched_setaffinity(std::stoi(task.path().filename()), sizeof set, &set), 0);
                ++pinned;
            }
        }
        ASSERT_EQ(pinned, 1);
    }

private:
    const int cpu_ = sched_getcpu();
};

TEST_F(preempted_vhost_test, APeerThatConnectsLaterWakesTheQueueThatWaitsForItsInterrupt)
{
    child_process peer("virtio_peer", "net_virtio_user0,server=1,path=" + dir_ + "/sock");
    ASSERT_TRUE(eventually([&] { return access((dir_ + "/sock").c_str(), F_OK) == 0; }));
    add_device("net_vhost0,client=1,iface=" + dir_ + "/sock");
    pin_driver();
    ASSERT_EQ(peer.ask("up"), "up");
    for (int round = 0; round < 3; ++round) {
        core_->unregister_netdevice(*dev_);
        ASSERT_EQ(peer.ask("down"), "down");
        peer.signal(SIGSTOP); // so that it answers only when the queue already waits
        add_device("net_vhost0,client=1,iface=" + dir_ + "/sock");
        ASSERT_TRUE(asleep());
        ASSERT_EQ(napi().rung, wait_rung::interrupt) << napi().rung_reason.load();
        ASSERT_FALSE(dev_->carrier);
        peer.signal(SIGCONT);
        ASSERT_EQ(peer.ask("up"), "up");
        ASSERT_TRUE(wait_for_carrier(true));
        expect_echoes(peer);
    }
    EXPECT_EQ(peer.end(), 0) << "the peer does not close its device";
}

} // namespace
