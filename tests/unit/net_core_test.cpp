// SPDX-License-Identifier: BSD-3-Clause
#include "control_until.hpp"
#include "net_rig.hpp"

#include <halfpoll/backlog.hpp>
#include <halfpoll/softnet_data.hpp>

#include <gtest/gtest.h>

#include <numeric>
#include <poll.h>

using namespace halfpoll;
using namespace halfpoll::test;

namespace
{

constexpr unsigned POOL_PACKETS = 4095;

class net_core_test : public net_rig
{
protected:
    net_core_test() : net_rig(POOL_PACKETS) {}
    /// Sends from the CPU's own thread, as a poll does.
    void xmit(unsigned cpu, net_device &dev, std::vector<rte_mbuf *> pkts)
    {
        rt_->call_on(cpu, [&](softnet_data &) {
            dev_queue_xmit(core_->cpu(cpu), dev, pkts.data(), static_cast<unsigned>(pkts.size()));
            net_poll_end(core_->cpu(cpu));
        });
    }
    std::vector<rte_mbuf *> packets(unsigned n, std::uint32_t first = 0)
    {
        std::vector<rte_mbuf *> v;
        for (unsigned i = 0; i < n; ++i) {
            v.push_back(packet(pool_, first + i));
        }
        return v;
    }
    void run_posted()
    {
        pollfd p{core_->control_fd(), POLLIN, 0};
        ASSERT_EQ(poll(&p, 1, 5000), 1) << "nothing was posted";
        core_->run_control();
    }
};

TEST_F(net_core_test, ForwardsAllInOrderAndCounts)
{
    start();
    auto in = wire(), out = wire();
    net_device *target = nullptr;
    forward_to(target);
    target = &add("out", out);
    net_device &source = add("in", in);
    for (unsigned i = 0; i < 1000; ++i) {
        in->receive(packet(pool_, i));
    }
    expect_sent_in_order(*out, 1000);
    dev_stats &rx = core_->cpu(0).dev[source.ifindex];
    dev_stats &tx = core_->cpu(0).dev[target->ifindex];
    EXPECT_TRUE(eventually([&] { return rx.rx_packets == 1000; }));
    EXPECT_EQ(rx.rx_bytes, 60'000U);
    EXPECT_EQ(tx.tx_packets, 1000U);
    EXPECT_EQ(tx.tx_bytes, 60'000U);
}

TEST_F(net_core_test, OneDoorbellAPoll)
{
    start();
    auto in = wire(), out = wire();
    net_device *target = nullptr;
    forward_to(target);
    target = &add("out", out);
    net_device &source = add("in", in);
    {
        const std::lock_guard lock(in->mutex);
        for (unsigned i = 0; i < 640; ++i) {
            in->rx.push_back(packet(pool_, i));
        }
    }
    napi_schedule(source.queues[0]->napi);
    expect_sent_in_order(*out, 640);
    EXPECT_TRUE(eventually([&] { return out->doorbells != 0; }));
    rt_->call_on(0, [](softnet_data &) {}); // a poll is counted at its end
    EXPECT_LE(out->doorbells, source.queues[0]->napi.stats.polls);
    EXPECT_EQ(out->tx_calls, 20U) << "full bursts of 32";
}

TEST_F(net_core_test, WithoutHandlerPacketsAreCountedDrops)
{
    start();
    auto in = wire();
    add("in", in);
    in->receive(packet(pool_, 0));
    EXPECT_TRUE(eventually([&] { return core_->drops(DROP_NO_HANDLER) == 1; }));
}

TEST_F(net_core_test, CarrierFollowsTheLinkAndGuardsTransmission)
{
    start();
    auto w = wire();
    w->up = false;
    net_device &dev = add("eth", w);
    EXPECT_FALSE(dev.carrier);
    xmit(0, dev, packets(3));
    EXPECT_EQ(core_->drops(DROP_DEV_READY), 3U);
    EXPECT_EQ(core_->cpu(0).dev[dev.ifindex].tx_dropped, 3U);

    unsigned changes = 0;
    core_->on_change = [&](net_device &d) { changes += &d == &dev; };
    w->up = true;
    w->event(port_event::link);
    EXPECT_FALSE(dev.carrier) << "events are handled on the control thread only";
    run_posted();
    EXPECT_TRUE(dev.carrier);
    EXPECT_EQ(changes, 1U);
    xmit(0, dev, packets(3));
    expect_sent_in_order(*w, 3);
}

TEST_F(net_core_test, OversizePacketsAreDroppedTheOthersSent)
{
    start();
    auto w = wire();
    net_device &dev = add("eth", w);
    std::vector<rte_mbuf *> pkts = {packet(pool_, 0, 1522), packet(pool_, 99, 1523), packet(pool_, 1)};
    xmit(0, dev, pkts);
    expect_sent_in_order(*w, 2);
    EXPECT_EQ(core_->drops(DROP_TX_OVERSIZE), 1U);
}

TEST_F(net_core_test, AFullRingIsRetriedByTimer)
{
    start();
    auto w = wire();
    net_device &dev = add("eth", w);
    w->room = 10;
    xmit(0, dev, packets(50));
    EXPECT_EQ(w->sent_count(), 10U);
    w->room = 1000; // no other work on that CPU would send them
    expect_sent_in_order(*w, 50);
    EXPECT_EQ(core_->drops(DROP_TX_FULL), 0U);
}

TEST_F(net_core_test, ARingThatStaysFullDropsCounted)
{
    start();
    auto w = wire();
    net_device &dev = add("eth", w);
    w->room = 0;
    xmit(0, dev, packets(300));
    EXPECT_GE(core_->drops(DROP_TX_FULL), 300U - 256U) << "beyond the queue's bound at once";
    EXPECT_TRUE(eventually([&] { return core_->drops(DROP_TX_FULL) == 300; })) << "the rest after the last retry";
    const unsigned calls = w->tx_calls;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    EXPECT_EQ(w->tx_calls, calls) << "retries end";
    w->room = 1000;
    xmit(0, dev, packets(40));
    expect_sent_in_order(*w, 40);
}

TEST_F(net_core_test, ARefusedDoorbellIsRungAgain)
{
    start();
    auto w = wire();
    net_device &dev = add("eth", w);
    w->refused_doorbells = 3;
    xmit(0, dev, packets(1));
    EXPECT_TRUE(eventually([&] { return w->doorbells == 4; }));
    EXPECT_EQ(w->sent_count(), 1U);
}

TEST_F(net_core_test, NestedTransmitsEndAtTheLimit)
{
    start();
    std::vector<std::shared_ptr<fake_wire>> chain;
    std::vector<net_device *> devs;
    for (unsigned i = 0; i < 12; ++i) {
        chain.push_back(wire());
        devs.push_back(&add("tun" + std::to_string(i), chain[i]));
    }
    net_cpu &cpu = core_->cpu(0);
    for (unsigned i = 0; i + 1 < 12; ++i) { // each is a tunnel through the next; a whole burst is sent at once
        chain[i]->on_tx = [&cpu, next = devs[i + 1]](rte_mbuf **pkts, unsigned n) {
            dev_queue_xmit(cpu, *next, pkts, n);
        };
    }
    xmit(0, *devs[0], packets(32));
    EXPECT_EQ(core_->drops(DROP_RECURSION_LIMIT), 32U);
    EXPECT_EQ(chain[8]->tx_calls, 1U) << "nine nested sends pass, as in the kernel";
    EXPECT_EQ(chain[9]->tx_calls, 0U);
}

TEST_F(net_core_test, ALoopOfDevicesIsCutAtOnce)
{
    start();
    auto a = wire();
    net_device &dev = add("loop", a);
    net_cpu &cpu = core_->cpu(0);
    a->on_tx = [&](rte_mbuf **pkts, unsigned n) { dev_queue_xmit(cpu, dev, pkts, n); };
    xmit(0, dev, packets(32));
    EXPECT_EQ(core_->drops(DROP_RECURSION_LIMIT), 32U);
    EXPECT_EQ(a->tx_calls, 1U);
}

/// Virtual devices, each of which sends its packets to the next, and the last one to the first.
class device_loop_test : public net_core_test, public testing::WithParamInterface<unsigned>
{
protected:
    /// Makes the loop; device i sends on CPU cpus[i % size].
    void make_loop(unsigned devices, const std::vector<unsigned> &cpus)
    {
        devs.resize(devices);
        for (unsigned i = 0; i < devices; ++i) {
            net_device **next = &devs[(i + 1) % devices];
            loop.push_back(wire());
            loop[i]->on_tx = [&core = *core_, next](rte_mbuf **pkts, unsigned n) {
                dev_queue_xmit(core.cpu(this_softnet_data()->cpu), **next, pkts, n);
            };
            devs[i] = &add("virt" + std::to_string(i), loop[i], {cpus[i % cpus.size()]});
        }
    }
    unsigned sends() const
    {
        return std::accumulate(loop.begin(), loop.end(), 0U,
                               [](unsigned sum, const auto &w) { return sum + w->tx_calls; });
    }
    std::vector<std::shared_ptr<fake_wire>> loop;
    std::vector<net_device *> devs;
};

// Packets that are staged for the end of the poll count like packets that are sent at once.
TEST_F(net_core_test, NestedTransmitsOfSinglePacketsEndAtTheLimitToo)
{
    start();
    std::vector<std::shared_ptr<fake_wire>> chain;
    std::vector<net_device *> devs;
    net_cpu &cpu = core_->cpu(0);
    for (unsigned i = 0; i < 12; ++i) {
        chain.push_back(wire());
        devs.push_back(&add("tun" + std::to_string(i), chain[i]));
    }
    for (unsigned i = 0; i + 1 < 12; ++i) {
        chain[i]->on_tx = [&cpu, next = devs[i + 1]](rte_mbuf **pkts, unsigned n) {
            dev_queue_xmit(cpu, *next, pkts, n);
        };
    }
    xmit(0, *devs[0], packets(1));
    EXPECT_EQ(core_->drops(DROP_RECURSION_LIMIT), 1U);
    EXPECT_EQ(chain[8]->tx_calls, 1U) << "nine nested sends pass, as in the kernel";
    EXPECT_EQ(chain[9]->tx_calls, 0U);
    xmit(0, *devs[3], packets(2)); // the nesting of the sends before does not count any more
    EXPECT_EQ(core_->drops(DROP_RECURSION_LIMIT), 1U);
    EXPECT_EQ(chain[11]->sent_count(), 2U);
}

// With one packet, with as many as are sent at once, and with more than can wait; on one CPU, and across two.
TEST_P(device_loop_test, EndsInACountedDrop)
{
    start();
    make_loop(2, {0});
    const unsigned n = GetParam();
    xmit(0, *devs[0], packets(n));
    rt_->call_on(0, [&](softnet_data &) { EXPECT_EQ(core_->cpu(0).xmit.flush_count, 0U); });
    EXPECT_EQ(core_->drops(DROP_RECURSION_LIMIT) + core_->drops(DROP_TX_FULL), n);
    EXPECT_GE(core_->drops(DROP_RECURSION_LIMIT), 1U);
    EXPECT_LE(sends(), 9 * (n / NET_BURST + 1));
}

TEST_P(device_loop_test, EndsInACountedDropAcrossCpus)
{
    start(2);
    make_loop(2, {0, 1});
    const unsigned n = GetParam();
    xmit(0, *devs[0], packets(n));
    EXPECT_TRUE(eventually([&] { return core_->drops(DROP_RECURSION_LIMIT) + core_->drops(DROP_TX_FULL) == n; }));
    EXPECT_LE(sends(), 9 * (n / NET_BURST + 1));
}

INSTANTIATE_TEST_SUITE_P(packets, device_loop_test, testing::Values(1, 31, 32, 33, 64, 300));

// With the maximal number of devices, each sends to the one before, so that every round of a flush sends to all of them
// again.
TEST_F(net_core_test, AsManyDevicesAsThereMayBeSendToOneAnother)
{
    start();
    std::vector<net_device *> devs;
    net_cpu &cpu = core_->cpu(0);
    for (unsigned i = 0; i + 1 < MAX_IFINDEX; ++i) {
        auto w = wire();
        w->on_tx = [&cpu, &devs, i](rte_mbuf **pkts, unsigned n) {
            dev_queue_xmit(cpu, *devs[i == 0 ? devs.size() - 1 : i - 1], pkts, n);
        };
        devs.push_back(&add("virt" + std::to_string(i), w));
    }
    rt_->call_on(0, [&](softnet_data &) {
        for (net_device *dev : devs) {
            rte_mbuf *m = packet(pool_, 0);
            dev_queue_xmit(cpu, *dev, &m, 1);
        }
        net_poll_end(cpu);
        EXPECT_EQ(cpu.xmit.flush_count, 0U);
    });
    EXPECT_EQ(core_->drops(DROP_RECURSION_LIMIT), MAX_IFINDEX - 1U);
}

// A queue that waits for room keeps its place while the flush sends to other devices.
TEST_F(net_core_test, AFullRingBesideALoop)
{
    start();
    auto full = wire(), a = wire(), b = wire();
    net_device &stuck = add("stuck", full), &first = add("a", a), &second = add("b", b);
    net_cpu &cpu = core_->cpu(0);
    a->on_tx = [&](rte_mbuf **pkts, unsigned n) { dev_queue_xmit(cpu, second, pkts, n); };
    b->on_tx = [&](rte_mbuf **pkts, unsigned n) { dev_queue_xmit(cpu, first, pkts, n); };
    full->room = 0;
    rt_->call_on(0, [&](softnet_data &) {
        for (net_device *dev : {&first, &stuck, &second}) {
            rte_mbuf *m = packet(pool_, 0);
            dev_queue_xmit(cpu, *dev, &m, 1);
        }
        net_poll_end(cpu);
        EXPECT_EQ(cpu.xmit.flush_count, 1U);
    });
    full->room = 10;
    EXPECT_TRUE(eventually([&] { return full->sent_count() == 1; }));
    EXPECT_EQ(core_->drops(DROP_RECURSION_LIMIT), 2U);
}

// A tunnel over a device that passes packets to the backlog of a CPU, as a veth does.
TEST_F(net_core_test, WhatDriversSendAndSteerWhileTheyAreFlushedIsNotForgotten)
{
    start();
    auto upper = wire(), back = wire(), out = wire();
    net_device &tunnel = add("tunnel", upper), &peer = add("veth", back), &last = add("out", out);
    net_cpu &cpu = core_->cpu(0);
    net_device *target = &last;
    forward_to(target);
    upper->on_tx = [&](rte_mbuf **pkts, unsigned n) { dev_queue_xmit(cpu, peer, pkts, n); };
    back->on_tx = [&](rte_mbuf **pkts, unsigned n) { enqueue_to_backlog(cpu, 0, peer, pkts, n); };
    xmit(0, tunnel, packets(3));
    expect_sent_in_order(*out, 3);
}

TEST_F(net_core_test, PacketsCrossToTheOwnerOfTheQueue)
{
    start(2);
    auto in = wire(), out = wire();
    net_device *target = nullptr;
    forward_to(target);
    target = &add("out", out, {1});
    net_device &source = add("in", in, {0});
    ASSERT_EQ(target->tx[0].owner, 1U);
    ASSERT_EQ(target->tx[1].owner, 1U);
    for (unsigned i = 0; i < 2000; ++i) {
        in->receive(packet(pool_, i));
        if (i % 200 == 199) { // never more in flight than a ring holds
            ASSERT_TRUE(eventually([&] { return out->sent_count() == i + 1; })) << out->sent_count();
        }
    }
    expect_sent_in_order(*out, 2000);
    EXPECT_EQ(core_->cpu(0).dev[target->ifindex].tx_packets, 0U);
    EXPECT_EQ(core_->cpu(1).dev[target->ifindex].tx_packets, 2000U);
    EXPECT_EQ(core_->cpu(0).dev[source.ifindex].rx_packets, 2000U);
}

TEST_F(net_core_test, WhatCrossesNeedsNoHeadroomAndMayBeHeldByOthers)
{
    start(2);
    auto out = wire();
    std::vector<bool> whole;
    out->on_tx = [&](rte_mbuf **pkts, unsigned n) {
        for (unsigned i = 0; i < n; ++i) {
            whole.push_back(*rte_pktmbuf_mtod(pkts[i], std::uint32_t *) == 7 && pkts[i]->data_len == 60);
        }
        rte_pktmbuf_free_bulk(pkts, n);
    };
    net_device &dev = add("out", out, {1});
    rte_mbuf *full = rte_pktmbuf_alloc(pool_), *held = packet(pool_, 7), *original = packet(pool_, 7);
    full->data_off = 0;
    *reinterpret_cast<std::uint32_t *>(rte_pktmbuf_append(full, 60)) = 7;
    rte_mbuf_refcnt_update(held, 1);
    rte_mbuf *const indirect = rte_pktmbuf_clone(original, pool_);
    xmit(0, dev, {full, held, indirect});
    rte_mbuf *foreign = rte_pktmbuf_alloc(pool_);
    foreign->data_off = 0;
    *reinterpret_cast<std::uint32_t *>(rte_pktmbuf_append(foreign, 60)) = 7;
    EXPECT_EQ(core_->foreign_xmit(0, dev, &foreign, 1), 1U);
    EXPECT_TRUE(eventually([&] { return core_->cpu(1).dev[dev.ifindex].tx_packets == 4; }));
    rt_->call_on(1, [&](softnet_data &) { EXPECT_EQ(whole, std::vector<bool>(4, true)); });
    EXPECT_EQ(core_->drops(DROP_NOMEM), 0U);
    rte_pktmbuf_free(held);
    rte_pktmbuf_free(original);
}

TEST_F(net_core_test, ADeviceWithAQueueForEachCpuNeedsNoHandOver)
{
    start(2);
    auto w = wire();
    w->tx_queues = 4;
    net_device &dev = add("eth", w);
    EXPECT_EQ(dev.tx[0].owner, 0U);
    EXPECT_EQ(dev.tx[1].owner, 1U);
    EXPECT_NE(dev.tx[0].queue, dev.tx[1].queue);
}

TEST_F(net_core_test, AHandOverRingThatIsFullDropsCounted)
{
    start(2);
    auto out = wire();
    net_device &dev = add("out", out, {1});
    rt_->call_on(1, [&](softnet_data &) { // keeps the owner busy
        const std::vector<rte_mbuf *> all = packets(1500);
        std::thread([&] { xmit(0, dev, all); }).join();
    });
    EXPECT_EQ(core_->drops(DROP_HANDOVER_FULL), 1500U - 1023U);
    expect_sent_in_order(*out, 1023);
}

TEST_F(net_core_test, AForeignThreadSends)
{
    start(2);
    auto w = wire();
    net_device &dev = add("eth", w, {1});
    std::thread slow_path([&] {
        for (unsigned i = 0; i < 500; i += 5) {
            std::vector<rte_mbuf *> pkts = packets(5, i);
            EXPECT_EQ(core_->foreign_xmit(0, dev, pkts.data(), 5), 5U);
            ASSERT_TRUE(eventually([&] { return w->sent_count() == i + 5; })) << "the owner was not woken";
        }
    });
    slow_path.join();
    expect_sent_in_order(*w, 500);
    rte_mbuf *big = packet(pool_, 0, 1600);
    EXPECT_EQ(core_->foreign_xmit(0, dev, &big, 1), 0U);
    EXPECT_EQ(core_->foreign_drops(), 1U);
}

TEST_F(net_core_test, ADeviceThatVanishesTakesOnlyItselfDown)
{
    start(2);
    auto bad = wire(), good = wire(), in = wire();
    net_device *target = nullptr;
    forward_to(target);
    net_device &gone = add("bad", bad);
    target = &add("good", good);
    add("in", in);
    unsigned changes = 0;
    core_->on_change = [&](net_device &d) { changes += &d == &gone; };
    bad->event(port_event::removed);
    run_posted();
    EXPECT_TRUE(bad->closed);
    EXPECT_NE(gone.failure, "");
    EXPECT_FALSE(gone.running);
    EXPECT_GE(changes, 1U);
    EXPECT_EQ(core_->dev_get_by_name("bad"), &gone) << "stays listed";
    xmit(0, gone, packets(2));
    EXPECT_EQ(core_->drops(DROP_DEV_READY), 2U);
    bad->event(port_event::link); // too late: the handler is removed
    for (unsigned i = 0; i < 100; ++i) {
        in->receive(packet(pool_, i));
    }
    expect_sent_in_order(*good, 100);
    core_->unregister_netdevice(gone);
    EXPECT_EQ(core_->dev_get_by_name("bad"), nullptr);
}

TEST_F(net_core_test, ALinkThatCannotBeReadFailsTheDevice)
{
    start();
    auto w = wire();
    net_device &dev = add("eth", w);
    w->link_fails = true;
    w->event(port_event::link);
    run_posted();
    EXPECT_NE(dev.failure.find("link cannot be read"), std::string::npos);
    EXPECT_TRUE(w->closed);
}

TEST_F(net_core_test, EventsOfADeviceThatIsGoneAreIgnored)
{
    start();
    auto w = wire();
    net_device &dev = add("eth", w);
    w->event(port_event::link);
    w->event(port_event::removed);
    core_->unregister_netdevice(dev);
    run_posted();
    EXPECT_TRUE(core_->devices().empty());
}

TEST_F(net_core_test, DevicesComeAndGoUnderTraffic)
{
    start(2);
    auto in = wire();
    static std::atomic<net_device *> target;
    target = nullptr;
    core_->set_rx_handler(
        [](void *, net_cpu &cpu, net_device &, rte_mbuf **pkts, unsigned n) noexcept {
            if (net_device *dev = target.load(std::memory_order_acquire)) {
                dev_queue_xmit(cpu, *dev, pkts, n);
            } else {
                drop_packets(cpu, DROP_DEV_READY, pkts, n);
            }
        },
        nullptr);
    add("in", in, {0});
    std::atomic<bool> stop{false};
    std::thread generator([&] {
        for (std::uint32_t i = 0; !stop; ++i) {
            if (rte_mempool_avail_count(pool_) > POOL_PACKETS / 2) {
                in->receive(packet(pool_, i));
            } else {
                std::this_thread::yield();
            }
        }
    });
    std::uint64_t sent = 0;
    for (unsigned round = 0; round < 30; ++round) {
        auto out = wire();
        net_device &dev = add("out", out, {round % 2}); // in every other round packets cross to another CPU
        core_->on_change = [&](net_device &d) {
            if (&d == &dev && !d.running) {
                target.store(nullptr, std::memory_order_release); // pairs with the acquire in the handler
            }
        };
        target.store(&dev, std::memory_order_release);
        EXPECT_TRUE(eventually([&] { return out->sent_count() > 50; })) << "round " << round;
        core_->unregister_netdevice(dev);
        core_->on_change = nullptr;
        sent += out->sent_count();
    }
    stop = true;
    generator.join();
    EXPECT_GT(sent, 30U * 50U);
}

TEST_F(net_core_test, AFailedRegistrationLeavesNothing)
{
    start();
    auto w = wire();
    w->open_fails = true;
    EXPECT_THROW(add("eth", w), error);
    EXPECT_TRUE(core_->devices().empty());
    w->open_fails = false;
    EXPECT_NO_THROW(add("eth", w));
    EXPECT_THROW(add("eth", wire()), error) << "the name is taken";
    EXPECT_THROW(add("cpu9", wire(), {9}), error);
    net_device_options many;
    many.name = "many";
    many.rx_queues = 2;
    EXPECT_THROW(core_->register_netdevice(std::make_unique<fake_port>(wire()), many), error);
    EXPECT_EQ(core_->devices().size(), 1U);
}

TEST_F(net_core_test, AQueueWithoutInterruptStartsLowerOnTheLadder)
{
    start();
    auto with_ring = wire(), unknown = wire();
    with_ring->has_fd = unknown->has_fd = false;
    unknown->descriptors = 0;
    net_device &timed = add("timed", with_ring);
    net_device &spin = add("spin", unknown);
    EXPECT_EQ(timed.queues[0]->napi.rung, wait_rung::timed);
    EXPECT_STREQ(timed.queues[0]->napi.rung_reason, "fake without interrupt");
    EXPECT_EQ(timed.queues[0]->napi.timed_sleep, hybrid_timed_sleep(256, 10'000'000'000));
    EXPECT_EQ(spin.queues[0]->napi.rung, wait_rung::spin);
    with_ring->receive(packet(pool_, 0));
    unknown->receive(packet(pool_, 0));
    EXPECT_TRUE(eventually([&] { return core_->drops(DROP_NO_HANDLER) == 2; }));
}

TEST_F(net_core_test, AnInterruptThatIsRefusedIsNotTheEndOfTheQueue)
{
    start();
    auto w = wire();
    w->enable_result = -EIO;
    net_device &dev = add("eth", w);
    EXPECT_TRUE(eventually([&] { return dev.queues[0]->napi.rung == wait_rung::timed; }));
    for (unsigned i = 0; i < 10; ++i) {
        w->receive(packet(pool_, i));
        EXPECT_TRUE(eventually([&] { return core_->drops(DROP_NO_HANDLER) == i + 1; }));
    }
}

/// A device that is probed again after it has failed.
class returning_device_test : public net_core_test
{
protected:
    void add_returning()
    {
        start(2);
        wire_ = wire();
        wire_->mac = {{2, 0, 0, 0, 0, 1}};
        net_device_options options;
        options.name = "eth";
        options.cpus = {1};
        options.reprobe = [this]() -> std::unique_ptr<port> {
            ++looks_;
            if (!there_) {
                throw device_absent("nobody home");
            }
            return std::make_unique<fake_port>(wire_);
        };
        dev_ = &core_->register_netdevice(std::make_unique<fake_port>(wire_), options);
    }
    void event(port_event e)
    {
        wire_->event(e);
        run_posted();
    }
    bool wait_for(const std::function<bool()> &condition) { return control_until(*core_, condition); }
    void expect_traffic()
    {
        const std::uint64_t before = core_->drops(DROP_NO_HANDLER);
        wire_->receive(packet(pool_, 0));
        EXPECT_TRUE(eventually([&] { return core_->drops(DROP_NO_HANDLER) == before + 1; })) << "receives nothing";
        const std::size_t sent = wire_->sent_count();
        xmit(0, *dev_, packets(3)); // crosses to another CPU
        xmit(1, *dev_, packets(3));
        rte_mbuf *foreign = packet(pool_, 0);
        EXPECT_EQ(core_->foreign_xmit(0, *dev_, &foreign, 1), 1U);
        EXPECT_TRUE(eventually([&] { return wire_->sent_count() == sent + 7; })) << wire_->sent_count() - sent;
    }

    std::shared_ptr<fake_wire> wire_;
    net_device *dev_ = nullptr;
    bool there_ = true;
    unsigned looks_ = 0;
};

TEST_F(returning_device_test, ARemovedDeviceIsLetGoAndComesBackAsTheSameInterface)
{
    add_returning();
    expect_traffic();
    const ifindex_t ifindex = dev_->ifindex;
    for (unsigned round = 0; round < 2; ++round) {
        there_ = false;
        event(port_event::removed);
        EXPECT_TRUE(wire_->closed);
        EXPECT_EQ(wire_->ports, 0U) << "the kernel waits for that";
        EXPECT_FALSE(dev_->carrier);
        xmit(0, *dev_, packets(2));
        const unsigned looks = looks_;
        ASSERT_TRUE(wait_for([&] { return looks_ > looks; })) << "is not looked for";
        EXPECT_EQ(dev_->failure, dev_->device + " was removed; nobody home");
        there_ = true;
        ASSERT_TRUE(wait_for([&] { return dev_->failure.empty(); })) << dev_->failure;
        EXPECT_TRUE(dev_->running);
        EXPECT_EQ(core_->dev_get(ifindex), dev_);
        expect_traffic();
    }
    EXPECT_EQ(core_->drops(DROP_DEV_READY), 4U);
}

TEST_F(returning_device_test, WhatWasSetWhileItWasAwayHoldsOnReturn)
{
    add_returning();
    there_ = false;
    event(port_event::removed);
    const rte_ether_addr mac{{2, 0, 0, 0, 0, 9}};
    core_->set_mtu(*dev_, 1400);
    core_->set_mac(*dev_, mac);
    there_ = true;
    ASSERT_TRUE(wait_for([&] { return dev_->failure.empty(); }));
    EXPECT_EQ(wire_->mtu, 1400U);
    EXPECT_EQ(dev_->mtu, 1400U);
    EXPECT_TRUE(rte_is_same_ether_addr(&*wire_->filter, &mac));
}

TEST_F(returning_device_test, AnotherDeviceInItsPlaceTakesTheAddressOver)
{
    add_returning();
    const rte_ether_addr before = dev_->mac;
    event(port_event::removed);
    wire_->mac = {{2, 0, 0, 0, 0, 2}};
    ASSERT_TRUE(wait_for([&] { return dev_->failure.empty(); }));
    EXPECT_TRUE(rte_is_same_ether_addr(&dev_->mac, &before));
    ASSERT_TRUE(wire_->filter);
    EXPECT_TRUE(rte_is_same_ether_addr(&*wire_->filter, &before));
}

TEST_F(returning_device_test, ADeviceThatIsThereAndDoesNotOpenSaysWhy)
{
    add_returning();
    wire_->open_fails = true;
    event(port_event::removed);
    ASSERT_TRUE(wait_for([&] { return looks_ == 1; }));
    EXPECT_EQ(dev_->failure, dev_->device + " was removed; it does not come back: fake: does not open");
    EXPECT_EQ(wire_->ports, 0U);
    EXPECT_EQ(dev_->return_wait, 2 * NSEC_PER_SEC) << "is not tried as often";
    wire_->open_fails = false;
    ASSERT_TRUE(wait_for([&] { return dev_->failure.empty(); }));
    expect_traffic();
}

TEST_F(returning_device_test, WhatIsNoErrorOfOursIsNotTheEndOfTheDeviceEither)
{
    add_returning();
    const auto comes_back = [this](const std::string &failure) {
        const unsigned looks = looks_;
        EXPECT_NE(dev_->failure.find(failure), std::string::npos) << dev_->failure;
        ASSERT_TRUE(wait_for([&] { return looks_ > looks; }));
        EXPECT_NE(dev_->failure, "");
        wire_->no_memory = false;
        ASSERT_TRUE(wait_for([&] { return dev_->failure.empty(); }));
        expect_traffic();
        wire_->no_memory = true;
    };
    wire_->no_memory = true;
    EXPECT_NO_THROW(event(port_event::reset));
    comes_back("a reset did not help");
    EXPECT_NO_THROW(event(port_event::removed));
    comes_back("was removed");
    wire_->refuses_live = true;
    EXPECT_THROW(core_->set_mtu(*dev_, 1400), std::bad_alloc);
    comes_back("bad_alloc");
    EXPECT_EQ(dev_->mtu, 1500U);
}

TEST_F(returning_device_test, AResetReopensTheDevice)
{
    add_returning();
    std::string told;
    core_->on_change = [&](net_device &d) { told = told.empty() ? d.failure : told; };
    event(port_event::reset);
    EXPECT_EQ(told, "the device is being reset");
    EXPECT_EQ(wire_->resets, 1U);
    EXPECT_EQ(wire_->opens, 2U);
    EXPECT_EQ(dev_->failure, "");
    EXPECT_TRUE(dev_->running);
    expect_traffic();
}

TEST_F(returning_device_test, OtherQueuesReopenTheDeviceAndItsLinkStays)
{
    add_returning();
    bool link_lost = false;
    std::string told;
    core_->on_change = [&](net_device &d) { link_lost |= !d.carrier; };
    core_->on_reopen = [&](net_device &, const std::string &why) { told = why; };
    event(port_event::queues);
    EXPECT_EQ(wire_->opens, 2U);
    EXPECT_EQ(told, "its device has 1 rx queues now");
    EXPECT_TRUE(dev_->running);
    EXPECT_FALSE(link_lost);
    expect_traffic();
    wire_->open_fails = true;
    event(port_event::queues);
    EXPECT_EQ(dev_->failure, "the device has other queues, and does not open again: fake: does not open");
    wire_->open_fails = false;
    ASSERT_TRUE(wait_for([&] { return dev_->failure.empty(); }));
    expect_traffic();
}

TEST_F(returning_device_test, ALinkThatCannotBeReadAfterReopeningFailsTheDevice)
{
    add_returning();
    bool told = false;
    core_->on_change = [&](net_device &) { wire_->link_fails = true; };
    core_->on_reopen = [&](net_device &, const std::string &) { told = true; };
    event(port_event::queues);
    EXPECT_FALSE(told);
    EXPECT_FALSE(dev_->open);
    EXPECT_EQ(dev_->failure, "fake: link cannot be read");
    core_->on_change = nullptr;
    wire_->link_fails = false;
    ASSERT_TRUE(wait_for([&] { return dev_->failure.empty(); }));
    expect_traffic();
}

TEST_F(returning_device_test, AfterAResetThatFailsTheDeviceIsProbedAgain)
{
    add_returning();
    wire_->reset_fails = true;
    event(port_event::reset);
    EXPECT_EQ(dev_->failure, "a reset did not help: fake: cannot be reset");
    EXPECT_EQ(wire_->ports, 0U);
    ASSERT_TRUE(wait_for([&] { return dev_->failure.empty(); }));
    expect_traffic();
}

TEST_F(returning_device_test, WhileADriverRepairsItsDeviceNobodyCallsIt)
{
    add_returning();
    event(port_event::recovering);
    EXPECT_TRUE(dev_->recovering);
    EXPECT_FALSE(dev_->carrier);
    EXPECT_NE(dev_->failure, "");
    EXPECT_THROW(core_->set_mtu(*dev_, 1400), error);
    EXPECT_THROW(core_->set_mac(*dev_, {{2, 0, 0, 0, 0, 9}}), error);
    wire_->link_fails = true; // a link() call would fail the device
    event(port_event::link);
    event(port_event::recovering);
    const unsigned calls = wire_->tx_calls;
    xmit(1, *dev_, packets(1));
    EXPECT_EQ(wire_->tx_calls, calls);
    wire_->link_fails = false;
    event(port_event::recovered);
    EXPECT_EQ(dev_->failure, "");
    EXPECT_EQ(wire_->opens, 1U) << "settings were kept";
    expect_traffic();
    event(port_event::recovering);
    event(port_event::failed);
    EXPECT_FALSE(dev_->recovering);
    EXPECT_EQ(wire_->ports, 0U);
    ASSERT_TRUE(wait_for([&] { return dev_->failure.empty(); }));
    expect_traffic();
}

TEST_F(returning_device_test, ADeviceMayBeUnregisteredInEveryState)
{
    add_returning();
    event(port_event::recovering);
    core_->unregister_netdevice(*dev_);
    EXPECT_EQ(wire_->ports, 0U);
    core_.reset();
    add_returning();
    event(port_event::removed);
    core_->unregister_netdevice(*dev_);
    EXPECT_TRUE(core_->devices().empty());
}

TEST_F(returning_device_test, SettingsThatNeedAStoppedPortReopenIt)
{
    add_returning();
    wire_->refuses_live = true;
    core_->set_mtu(*dev_, 1400);
    EXPECT_EQ(wire_->opens, 2U);
    EXPECT_EQ(wire_->mtu, 1400U);
    EXPECT_EQ(dev_->mtu, 1400U);
    const rte_ether_addr mac{{2, 0, 0, 0, 0, 9}};
    core_->set_mac(*dev_, mac);
    EXPECT_EQ(wire_->opens, 3U);
    EXPECT_TRUE(rte_is_same_ether_addr(&*wire_->filter, &mac));
    EXPECT_THROW(core_->set_mtu(*dev_, 9001), error) << "beyond what the device can";
    EXPECT_EQ(wire_->opens, 3U);
    EXPECT_TRUE(dev_->running);
    expect_traffic();
}

TEST_F(returning_device_test, ALiveSettingDoesNotReopen)
{
    add_returning();
    const rte_ether_addr mac{{2, 0, 0, 0, 0, 9}};
    core_->set_mtu(*dev_, 9000);
    core_->set_mac(*dev_, mac);
    EXPECT_EQ(wire_->opens, 1U);
    EXPECT_EQ(wire_->mtu, 9000U);
    EXPECT_TRUE(rte_is_same_ether_addr(&*wire_->filter, &mac));
    EXPECT_TRUE(rte_is_same_ether_addr(&dev_->mac, &mac));
    expect_traffic();
}

TEST_F(returning_device_test, ASettingThatTheStoppedPortRefusesTooIsTakenBack)
{
    add_returning();
    wire_->refuses_live = true;
    wire_->opens_at_most_with = 1500;
    EXPECT_THROW(core_->set_mtu(*dev_, 2000), error);
    EXPECT_EQ(wire_->mtu, 1500U);
    EXPECT_EQ(dev_->mtu, 1500U);
    EXPECT_EQ(dev_->failure, "");
    expect_traffic();
}

TEST_F(returning_device_test, ALinkWithoutEventsIsLookedAt)
{
    start();
    wire_ = wire();
    wire_->link_period = 20 * NSEC_PER_MSEC;
    dev_ = &add("eth", wire_);
    wire_->up = false; // the device sends no link event
    EXPECT_TRUE(wait_for([&] { return !dev_->carrier; }));
    wire_->up = true;
    EXPECT_TRUE(wait_for([&] { return dev_->carrier.load(); }));
    EXPECT_TRUE(wait_for([&] { return rt_->cpu(0).sleeping != 0; }));
    const std::uint64_t polls = dev_->queues[0]->napi.stats.polls;
    const unsigned looks = wire_->link_looks;
    EXPECT_TRUE(wait_for([&] { return wire_->link_looks > looks + 5; }));
    EXPECT_LE(dev_->queues[0]->napi.stats.polls, polls + 1) << "looking at the link wakes the queues";
}

TEST_F(returning_device_test, ASilentLinkIsSeldomLookedAt)
{
    start();
    wire_ = wire();
    wire_->link_period = NSEC_PER_MSEC;
    dev_ = &add("eth", wire_);
    const unsigned from = wire_->link_looks;
    const ktime_t start = ktime_get(), silence = 200 * NSEC_PER_MSEC;
    EXPECT_TRUE(wait_for([&] { return ktime_get() - start > silence; }));
    const auto periods = static_cast<unsigned>((ktime_get() - start) / NSEC_PER_MSEC);
    EXPECT_LE(wire_->link_looks - from, periods / 16 + 1);
    wire_->link_period = 10 * NSEC_PER_SEC; // 16 such periods are longer than wait_for() waits
    EXPECT_TRUE(wait_for([&] { return dev_->link_look_at > ktime_get() + 100 * NSEC_PER_MSEC; }));
    wire_->receive(packet(pool_, 0));
    const unsigned before = wire_->link_looks;
    EXPECT_TRUE(wait_for([&] { return wire_->link_looks > before; })) << "no look after traffic";
}

TEST_F(returning_device_test, WithoutAnythingToLookForTheControlLoopSleeps)
{
    add_returning();
    core_->run_control();
    pollfd p{core_->control_fd(), POLLIN, 0};
    EXPECT_EQ(poll(&p, 1, 1500), 0);
}

TEST_F(net_core_test, PostedWorkRunsOnTheControlThread)
{
    start();
    std::thread::id ran;
    std::thread([&] { core_->post([&] { ran = std::this_thread::get_id(); }); }).join();
    run_posted();
    EXPECT_EQ(ran, std::this_thread::get_id());
}

} // namespace
