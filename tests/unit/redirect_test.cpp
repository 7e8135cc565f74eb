// SPDX-License-Identifier: BSD-3-Clause
//
// Redirects: whatever happens to a frame, it is sent or freed exactly once, before the poll ends.
#include "child_process.hpp"
#include "redirect_rig.hpp"

#include <halfpoll/ethdev.hpp>
#include <halfpoll/softnet_data.hpp>
#include <halfpoll/xdp.hpp>
#include <halfpoll/xdp_socket.hpp>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <poll.h>

using namespace halfpoll;
using namespace halfpoll::test;

namespace
{

class devmap_test : public redirect_rig
{
protected:
    void SetUp() override
    {
        redirect_rig::SetUp();
        start();
        a = &add("a");
        b = &add("b");
        map = xdp_map_create(*core, "ports", xdp_map_type::devmap, 8);
        map->update({.key = 1, .ifindex = a->ifindex});
        map->update({.key = 2, .ifindex = b->ifindex});
    }
    void TearDown() override
    {
        map.reset();
        redirect_rig::TearDown();
    }
    std::uint64_t all_errors() const
    {
        std::uint64_t sum = 0;
        for (unsigned e = 0; e < static_cast<unsigned>(xdp_error::count); ++e) {
            sum += errors(static_cast<xdp_error>(e));
        }
        return sum;
    }
    /// Expects `n` errors of this kind and no others.
    void expect_error(xdp_error err, std::uint64_t n) const
    {
        EXPECT_EQ(errors(err), n) << to_string(err);
        EXPECT_EQ(all_errors(), n);
        EXPECT_EQ(drops(DROP_XDP_REDIRECT), n);
    }
    net_device *a = nullptr, *b = nullptr;
    std::shared_ptr<xdp_map> map;
};

TEST_F(devmap_test, SendsAllInOrderWithOneDoorbell)
{
    EXPECT_TRUE(redirect(packets(50), to(map, 1)).empty());
    EXPECT_EQ(sent(*a), numbers(50));
    EXPECT_EQ(wire_of(*a).doorbells, 1U);
    EXPECT_TRUE(sent(*b).empty());
    expect_error(xdp_error::einval, 0);
}

TEST_F(devmap_test, SixteenWaitAndTheSeventeenthSendsThem)
{
    wire_of(*a).on_tx = [](rte_mbuf **pkts, unsigned n) { // xmit in turn stages packets until there are 32
        rte_pktmbuf_free_bulk(pkts, n);
    };
    unsigned after_16 = 0, after_33 = 0, after_48 = 0;
    const auto calls = [this](unsigned &to_here) { return [this, &to_here] { to_here = wire_of(*a).tx_calls; }; };
    redirect(packets(16), to(map, 1), 0, calls(after_16));
    EXPECT_EQ(after_16, 0U);
    wire_of(*a).tx_calls = 0;
    redirect(packets(33), to(map, 1), 0, calls(after_33));
    EXPECT_EQ(after_33, 1U) << "two batches of 16 are a burst";
    wire_of(*a).tx_calls = 0;
    redirect(packets(48), to(map, 1), 0, calls(after_48));
    EXPECT_EQ(after_48, 1U) << "the third batch waits for a 49th packet";
}

TEST_F(devmap_test, TargetsOfABurstAreKeptApart)
{
    std::vector<rte_mbuf *> pkts = packets(64);
    rt->call_on(0, [&](softnet_data &) {
        halfpoll_xdp_burst burst{};
        judge(burst, pkts, *in, to(map, 1));
        for (unsigned i = 0; i < 64; ++i) {
            if (i % 4 == 3) {
                burst.action[i] = XDP_PASS;
            } else if (i % 4 != 0) {
                burst.target[i] = i % 4 == 1 ? to(map, 2) : halfpoll_xdp_target{nullptr, a->ifindex, 0};
            }
        }
        xdp_do_redirect(core->cpu(0), *in, burst);
        for (unsigned i = 0; i < 64; ++i) {
            EXPECT_EQ(burst.action[i], i % 4 == 3 ? std::uint8_t{XDP_PASS} : XDP_TAKEN) << i;
            if (i % 4 == 3) {
                rte_pktmbuf_free(burst.pkts[i]);
            }
        }
        net_poll_end(core->cpu(0));
    });
    std::vector<std::uint32_t> to_a, to_b;
    for (unsigned i = 0; i < 64; ++i) {
        (i % 4 == 1 ? to_b : to_a).push_back(i);
    }
    std::erase_if(to_a, [](std::uint32_t i) { return i % 4 == 3; });
    EXPECT_EQ(sent(*a), to_a);
    EXPECT_EQ(sent(*b), to_b);
}

TEST_F(devmap_test, AMissingEntryGivesTheActionOfTheFlags)
{
    EXPECT_EQ(redirect(packets(2), to(map, 3)), (std::vector<unsigned>{XDP_ABORTED, XDP_ABORTED}));
    EXPECT_EQ(redirect(packets(1), to(map, 3, XDP_PASS)), std::vector<unsigned>{XDP_PASS});
    EXPECT_EQ(redirect(packets(1), to(map, 100, XDP_TX)), std::vector<unsigned>{XDP_TX}) << "out of range";
    EXPECT_EQ(redirect(packets(1), to(map, 1, XDP_PASS)), std::vector<unsigned>{}) << "there is one";
    EXPECT_EQ(redirect(packets(1), to(map, 1, 1U << 10)), std::vector<unsigned>{XDP_ABORTED}) << "unknown flag";
    EXPECT_EQ(redirect(packets(1), {nullptr, a->ifindex, XDP_PASS}), std::vector<unsigned>{XDP_ABORTED});
    expect_error(xdp_error::einval, 0);
}

TEST_F(devmap_test, NoSuchInterface)
{
    EXPECT_TRUE(redirect(packets(3), {nullptr, 200, 0}).empty());
    EXPECT_TRUE(redirect(packets(2), {nullptr, 1'000'000, 0}).empty());
    expect_error(xdp_error::einval, 5);
}

TEST_F(devmap_test, DeviceDown)
{
    a->running = false;
    redirect(packets(40), to(map, 1));
    expect_error(xdp_error::enetdown, 40);
    EXPECT_TRUE(sent(*a).empty());
    a->running = true;
}

TEST_F(devmap_test, DeviceGoesDownWithFramesEnqueued)
{
    redirect(packets(20), to(map, 1), 0, [&] { a->running = false; });
    expect_error(xdp_error::enetdown, 0);
    EXPECT_EQ(drops(DROP_DEV_READY) + sent(*a).size(), 20U);
    EXPECT_GE(drops(DROP_DEV_READY), 4U);
    a->running = true;
}

TEST_F(devmap_test, NoTxRoom)
{
    wire_of(*a).room = 10;
    redirect(packets(60), to(map, 1));
    EXPECT_TRUE(eventually([&] { return drops(DROP_TX_FULL) == 50; })) << "given up after a while";
    EXPECT_EQ(sent(*a), numbers(10));
    expect_error(xdp_error::einval, 0);
}

TEST_F(devmap_test, Oversize)
{
    std::vector<rte_mbuf *> pkts = packets(20, 0, 1500 + 14 + 4);
    for (unsigned i = 0; i < pkts.size(); i += 3) {
        ASSERT_NE(rte_pktmbuf_append(pkts[i], 1), nullptr);
    }
    redirect(pkts, to(map, 1));
    expect_error(xdp_error::emsgsize, 7);
    EXPECT_EQ(sent(*a).size(), 13U);
}

TEST_F(devmap_test, EntryRemovedInFlight)
{
    std::thread control;
    redirect(packets(20), to(map, 1), 0, [&] {
        control = std::thread([&] { EXPECT_TRUE(map->erase(1)); });
        const auto key_1_gone = [&] {
            const auto all = map->entries();
            return std::ranges::none_of(all, [](const xdp_map_entry &e) { return e.key == 1; });
        };
        EXPECT_TRUE(eventually(key_1_gone));
    });
    control.join();
    EXPECT_EQ(sent(*a), numbers(20));
    EXPECT_EQ(redirect(packets(1), to(map, 1)), std::vector<unsigned>{XDP_ABORTED});
}

TEST_F(devmap_test, DeviceRemovedInFlight)
{
    const ifindex_t gone = a->ifindex;
    std::thread control;
    redirect(packets(20), to(map, 1), 0, [&] {
        control = std::thread([&] { core->unregister_netdevice(*a); });
        EXPECT_TRUE(eventually([&] { return map->entries().size() == 1; }));
    });
    control.join();
    EXPECT_EQ(sent(*in).size() + wires[gone - 1U]->sent.size() + drops(DROP_DEV_READY), 20U);
    EXPECT_TRUE(wires[gone - 1U]->closed);
    EXPECT_EQ(redirect(packets(1), to(map, 1, XDP_DROP)), std::vector<unsigned>{XDP_DROP});
    redirect(packets(4), {nullptr, gone, 0});
    expect_error(xdp_error::einval, 4);
}

TEST_F(devmap_test, AnotherDeviceTakesOver)
{
    const ifindex_t number = a->ifindex;
    const fake_wire &former = *wires[number - 1U];
    const auto wire = wires.emplace_back(std::make_shared<fake_wire>());
    wire->mac = {{2, 0, 0, 0, 0, 9}};
    wire->open_fails = true;
    const auto replace = [&] { core->replace_netdevice(*a, a->options, std::make_unique<fake_port>(wire)); };
    EXPECT_THROW(replace(), error);
    EXPECT_TRUE(wire->closed);
    EXPECT_FALSE(former.closed) << "one that does not open costs nothing";
    redirect(packets(3), to(map, 1));
    EXPECT_EQ(former.sent, numbers(3));
    wire->open_fails = false;
    replace();
    EXPECT_TRUE(former.closed);
    EXPECT_EQ(core->dev_get(number), a);
    EXPECT_EQ(map->entries().size(), 2U);
    EXPECT_EQ(a->mac.addr_bytes[5], 9);
    redirect(packets(3), to(map, 1));
    redirect(packets(3, 3), {nullptr, number, 0});
    EXPECT_EQ(wire->sent, numbers(6));
    core->fail_netdevice(*a, "gone");
    const auto next = wires.emplace_back(std::make_shared<fake_wire>());
    core->replace_netdevice(*a, a->options, std::make_unique<fake_port>(next), {{2, 0, 0, 0, 0, 7}});
    EXPECT_EQ(a->failure, "");
    EXPECT_EQ(next->filter.value().addr_bytes[5], 7);
    redirect(packets(3), to(map, 1));
    EXPECT_EQ(next->sent, numbers(3));
}

TEST_F(devmap_test, OtherOptionsForADevice)
{
    fake_wire &wire = wire_of(*a);
    net_device_options options = a->options;
    options.rx_queues = 2;
    EXPECT_THROW(core->replace_netdevice(*a, options), error);
    EXPECT_EQ(wire.opens, 1U) << "refused before it is closed";
    options.rx_queues = 1;
    options.descriptors = 64;
    wire.open_fails = true;
    EXPECT_THROW(core->replace_netdevice(*a, options), error);
    EXPECT_NE(a->failure, "");
    options.descriptors = 128;
    core->replace_netdevice(*a, options);
    EXPECT_EQ(a->options.descriptors, 128U) << "for its return";
    EXPECT_EQ(map->entries().size(), 2U);
}

TEST_F(devmap_test, ANameHasTheNumberThatItHadBefore)
{
    const ifindex_t number = a->ifindex;
    core->unregister_netdevice(*a);
    EXPECT_EQ(map->entries().size(), 1U);
    EXPECT_NE(add("c").ifindex, number);
    EXPECT_EQ(add("a").ifindex, number);
}

TEST_F(devmap_test, BroadcastCopies)
{
    map->update({.key = 5, .ifindex = in->ifindex});
    redirect(packets(20), to(map, 0, BPF_F_BROADCAST));
    for (const net_device *dev : {in, a, b}) {
        EXPECT_EQ(sent(*dev), numbers(20)) << dev->name;
    }
    redirect(packets(3, 20), to(map, 0, BPF_F_BROADCAST | BPF_F_EXCLUDE_INGRESS));
    EXPECT_EQ(sent(*in).size(), 20U);
    EXPECT_EQ(sent(*a), numbers(23));
    expect_error(xdp_error::einval, 0);
}

TEST_F(devmap_test, BroadcastPassesByDevicesThatDoNotTakeIt)
{
    b->running = false;
    redirect(packets(3), to(map, 0, BPF_F_BROADCAST));
    EXPECT_EQ(sent(*a), numbers(3));
    EXPECT_TRUE(sent(*b).empty());
    a->running = false;
    redirect(packets(3), to(map, 0, BPF_F_BROADCAST));
    expect_error(xdp_error::enoent, 3);
    a->running = b->running = true;
}

TEST_F(devmap_test, BroadcastWithoutBuffersForCopies)
{
    std::vector<rte_mbuf *> pkts = packets(2);
    empty_pool();
    redirect(pkts, to(map, 0, BPF_F_BROADCAST));
    expect_error(xdp_error::enomem, 2);
    EXPECT_TRUE(sent(*a).empty());
    EXPECT_TRUE(sent(*b).empty());
}

TEST_F(devmap_test, BroadcastCopiesMetadata)
{
    std::vector<rte_mbuf *> pkts = packets(1);
    static const rte_mbuf_dynfield field{.name = "redirect_test", .size = 1, .align = 1, .flags = 0};
    const int offset = rte_mbuf_dynfield_register(&field);
    ASSERT_GE(offset, 0);
    std::vector<std::uint32_t> seen;
    for (net_device *dev : {a, b}) {
        wire_of(*dev).on_tx = [&](rte_mbuf **m, unsigned) {
            seen.push_back(reinterpret_cast<std::uint32_t *>(rte_pktmbuf_mtod(m[0], char *))[-1]);
            rte_pktmbuf_free(m[0]);
        };
    }
    rt->call_on(0, [&](softnet_data &) {
        halfpoll_xdp_burst burst{};
        burst.meta_offset = offset;
        burst.meta_flag = RTE_MBUF_F_LAST_FREE;
        judge(burst, pkts, *in, to(map, 0, BPF_F_BROADCAST));
        ASSERT_EQ(xdp_adjust_meta(&burst, 0, -4), 0);
        *reinterpret_cast<std::uint32_t *>(xdp_data_meta(&burst, 0)) = 0x1234;
        xdp_do_redirect(core->cpu(0), *in, burst);
        net_poll_end(core->cpu(0));
    });
    EXPECT_EQ(seen, (std::vector<std::uint32_t>{0x1234, 0x1234}));
}

TEST_F(devmap_test, UpdateFlags)
{
    EXPECT_THROW(map->update({.key = 1, .ifindex = b->ifindex}, BPF_NOEXIST), error);
    EXPECT_THROW(map->update({.key = 4, .ifindex = b->ifindex}, BPF_EXIST), error);
    EXPECT_THROW(map->update({.key = 8, .ifindex = b->ifindex}), error) << "out of range";
    EXPECT_THROW(map->update({.key = 4, .ifindex = 77}), error) << "no such interface";
    EXPECT_THROW(map->update({.key = 4, .ifindex = b->ifindex}, BPF_F_LOCK), error);
    map->update({.key = 1, .ifindex = b->ifindex}, BPF_EXIST);
    map->update({.key = 4, .ifindex = a->ifindex}, BPF_NOEXIST);
    const auto all = map->entries();
    ASSERT_EQ(all.size(), 3U);
    EXPECT_EQ(all[0].ifindex, b->ifindex);
    EXPECT_FALSE(map->erase(7));
    EXPECT_FALSE(map->erase(700));
}

TEST_F(devmap_test, HashTakesAnyKeyUpToItsSize)
{
    const auto hash = xdp_map_create(*core, "hash", xdp_map_type::devmap_hash, 100);
    for (std::uint32_t i = 0; i < 100; ++i) {
        hash->update({.key = 0xffffffff - i * 7919, .ifindex = i % 2 ? a->ifindex : b->ifindex});
    }
    EXPECT_THROW(hash->update({.key = 1, .ifindex = a->ifindex}), error) << "full";
    for (std::uint32_t i = 0; i < 100; ++i) {
        EXPECT_TRUE(redirect(packets(1, i), to(hash, 0xffffffff - i * 7919)).empty());
    }
    EXPECT_EQ(sent(*a).size(), 50U);
    EXPECT_EQ(sent(*b).size(), 50U);
    for (std::uint32_t i = 0; i < 100; i += 2) {
        EXPECT_TRUE(hash->erase(0xffffffff - i * 7919));
    }
    EXPECT_EQ(redirect(packets(1), to(hash, 0xffffffff)), std::vector<unsigned>{XDP_ABORTED});
    EXPECT_EQ(hash->entries().size(), 50U);
    core->unregister_netdevice(*a);
    EXPECT_TRUE(hash->entries().empty());
}

TEST_F(devmap_test, OtherOriginStartsABatchOfItsOwn)
{
    std::vector<rte_mbuf *> first = packets(3), second = packets(3, 3);
    rt->call_on(0, [&](softnet_data &) {
        halfpoll_xdp_burst burst{};
        judge(burst, first, *in, to(map, 1));
        xdp_do_redirect(core->cpu(0), *in, burst);
        judge(burst, second, *b, to(map, 1));
        xdp_do_redirect(core->cpu(0), *b, burst);
        net_poll_end(core->cpu(0));
    });
    EXPECT_EQ(sent(*a), numbers(6));
}

/// Makes device `from` virtual: it redirects the packets that it sends to the entry `key`.
class redirecting_devices_test : public devmap_test
{
protected:
    void redirects(net_device &from, std::uint32_t key)
    {
        wire_of(from).on_tx = [this, &from, key](rte_mbuf **pkts, unsigned n) {
            net_cpu &here = core->cpu(this_softnet_data()->cpu);
            std::vector<rte_mbuf *> given(pkts, pkts + n);
            halfpoll_xdp_burst burst{};
            judge(burst, given, from, to(map, key));
            xdp_do_redirect(here, from, burst);
        };
    }
};

TEST_F(redirecting_devices_test, WhatIsRedirectedDuringTheFlushIsNotForgotten)
{
    redirects(*a, 2);
    for (const unsigned n : {1U, 16U, 40U}) {
        redirect(packets(n), to(map, 1));
        EXPECT_EQ(sent(*b), numbers(n)) << n;
        wire_of(*b).sent.clear();
    }
    expect_error(xdp_error::einval, 0);
}

TEST_F(redirecting_devices_test, ALoopEndsInACountedDrop)
{
    redirects(*a, 2);
    redirects(*b, 1);
    std::uint64_t sum = 0;
    for (const unsigned n : {1U, 16U, 17U, 40U}) {
        redirect(packets(n), to(map, 1));
        sum += n;
        EXPECT_EQ(drops(DROP_RECURSION_LIMIT), sum) << n;
    }
    EXPECT_LE(wire_of(*a).tx_calls + wire_of(*b).tx_calls, 4 * 2 * 9U);
    expect_error(xdp_error::einval, 0);
}

TEST_F(redirecting_devices_test, ADeviceThatRedirectsToItselfIsCut)
{
    redirects(*a, 1);
    redirect(packets(33), to(map, 1)); // some arrive while its queue is being flushed
    EXPECT_EQ(drops(DROP_RECURSION_LIMIT), 33U);
    expect_error(xdp_error::einval, 0);
}

TEST_F(devmap_test, DestroyedMapHasNoEntries)
{
    EXPECT_THROW(xdp_map_create(*core, "ports", xdp_map_type::devmap), error) << "name in use";
    EXPECT_EQ(xdp_map_find(*core, "ports"), map);
    xdp_map_destroy(*core, *map);
    EXPECT_EQ(xdp_map_find(*core, "ports"), nullptr);
    EXPECT_EQ(redirect(packets(1), to(map, 1, XDP_DROP)), std::vector<unsigned>{XDP_DROP});
}

TEST_F(redirect_rig, ByTheOwnerOfTheTxQueue)
{
    start(2);
    net_device &a = add("a", {1}); // CPU 1 owns its only tx queue
    redirect(packets(40), {nullptr, a.ifindex, 0}, 0);
    EXPECT_TRUE(eventually([&] { return sent(a).size() == 40; }));
    EXPECT_EQ(sent(a), numbers(40));
    EXPECT_EQ(core->cpu(1).dev[a.ifindex].tx_packets, 40U);
}

std::uint32_t number_of(const halfpoll_xdp_burst &b, std::uint32_t i)
{
    return *reinterpret_cast<const std::uint32_t *>(xdp_data(&b, i));
}

TEST_F(devmap_test, EgressProgramSeesWhatLeaves)
{
    std::atomic<unsigned> wrong{0};
    const auto prog = make_xdp_program("odd", [&](halfpoll_xdp_burst &burst, std::uint32_t i) noexcept -> std::uint8_t {
        wrong += burst.ingress_ifindex != in->ifindex || burst.egress_ifindex != a->ifindex || burst.n > 16;
        return number_of(burst, i) % 2 ? XDP_DROP : XDP_PASS;
    });
    map->update({.key = 1, .ifindex = a->ifindex, .prog = prog});
    redirect(packets(50), to(map, 1));
    EXPECT_EQ(wrong, 0U);
    EXPECT_EQ(drops(DROP_XDP), 25U);
    EXPECT_EQ(sent(*a).size(), 25U);
    EXPECT_TRUE(std::ranges::none_of(sent(*a), [](std::uint32_t i) { return i % 2 != 0; }));
    expect_error(xdp_error::einval, 0);
}

TEST_F(devmap_test, EgressProgramMayOnlyPassAndDrop)
{
    const auto prog = make_xdp_program("all", [](halfpoll_xdp_burst &burst, std::uint32_t i) noexcept -> std::uint8_t {
        constexpr std::uint8_t actions[] = {XDP_TX, XDP_REDIRECT, XDP_TAKEN, XDP_ABORTED, XDP_PASS};
        return actions[number_of(burst, i) % 5];
    });
    map->update({.key = 1, .ifindex = a->ifindex, .prog = prog});
    redirect(packets(40), to(map, 1));
    EXPECT_EQ(drops(DROP_XDP_ABORTED), 32U);
    EXPECT_EQ(sent(*a).size(), 8U);
}

TEST_F(devmap_test, EgressProgramMakesItTooLong)
{
    const auto prog = make_xdp_program("grow", [](halfpoll_xdp_burst &burst, std::uint32_t i) noexcept -> std::uint8_t {
        return xdp_adjust_tail(&burst, i, 100) == 0 ? XDP_PASS : XDP_ABORTED;
    });
    map->update({.key = 1, .ifindex = a->ifindex, .prog = prog});
    redirect(packets(20, 0, 1500), to(map, 1));
    EXPECT_EQ(drops(DROP_TX_OVERSIZE), 20U);
    EXPECT_TRUE(sent(*a).empty());
}

TEST_F(devmap_test, ProgramsOfEntriesAreNotMixed)
{
    std::atomic<unsigned> seen{0};
    const auto prog = make_xdp_program("count", [&](halfpoll_xdp_burst &, std::uint32_t) noexcept -> std::uint8_t {
        ++seen;
        return XDP_PASS;
    });
    map->update({.key = 3, .ifindex = a->ifindex, .prog = prog});
    std::vector<rte_mbuf *> pkts = packets(30);
    rt->call_on(0, [&](softnet_data &) {
        halfpoll_xdp_burst burst{};
        judge(burst, pkts, *in, to(map, 1));
        for (unsigned i = 0; i < 10; ++i) {
            burst.target[i * 3].key = 3;
        }
        xdp_do_redirect(core->cpu(0), *in, burst);
        net_poll_end(core->cpu(0));
    });
    EXPECT_EQ(seen, 10U);
    EXPECT_EQ(sent(*a), numbers(30));
}

/// Keeps a CPU busy during its lifetime.
class cpu_hold
{
public:
    cpu_hold(runtime &rt, unsigned cpu)
        : thread_([this, &rt, cpu] {
              rt.call_on(cpu, [this](softnet_data &) {
                  held_ = true;
                  while (!release_) {
                      std::this_thread::yield();
                  }
              });
          })
    {
        EXPECT_TRUE(eventually([this] { return held_.load(); }));
    }
    ~cpu_hold() { let_go(); }
    void let_go()
    {
        release_ = true;
        if (thread_.joinable()) {
            thread_.join();
        }
    }

private:
    std::atomic<bool> held_{false}, release_{false};
    std::thread thread_;
};

class cpumap_test : public redirect_rig
{
protected:
    void begin(exclusion_mode mode = exclusion_mode::exclusive, unsigned qsize = 512,
               std::shared_ptr<xdp_program> prog = {})
    {
        start(2, mode);
        map = xdp_map_create(*core, "cpus", xdp_map_type::cpumap);
        map->update({.key = 1, .qsize = qsize, .prog = std::move(prog)});
    }
    void TearDown() override
    {
        map.reset();
        redirect_rig::TearDown();
    }
    std::vector<arrival> expected(unsigned cpu, unsigned n) const
    {
        std::vector<arrival> v;
        for (unsigned i = 0; i < n; ++i) {
            v.push_back({cpu, in, i});
        }
        return v;
    }
    void expect_arrived(unsigned cpu, unsigned n)
    {
        EXPECT_TRUE(eventually([&] { return arrived().size() >= n; })) << arrived().size() << " of " << n;
        EXPECT_EQ(arrived(), expected(cpu, n));
    }
    std::shared_ptr<xdp_map> map;
};

TEST_F(cpumap_test, ArrivesInOrder)
{
    begin();
    for (unsigned i = 0; i < 5; ++i) {
        EXPECT_TRUE(redirect(packets(50, 50 * i), to(map, 1)).empty());
    }
    expect_arrived(1, 250);
    EXPECT_EQ(redirect(packets(1), to(map, 0, XDP_DROP)), std::vector<unsigned>{XDP_DROP}) << "no entry";
}

TEST_F(cpumap_test, TheOwnCpuToo)
{
    begin();
    redirect(packets(30), to(map, 1), 1);
    expect_arrived(1, 30);
}

TEST_F(cpumap_test, AThreadOfItsOwnInModeBig)
{
    begin(exclusion_mode::big);
    redirect(packets(50), to(map, 1));
    expect_arrived(1, 50);
    bool found = false;
    for (const auto &task : std::filesystem::directory_iterator("/proc/self/task")) {
        std::string comm;
        std::getline(std::ifstream(task.path() / "comm") >> std::ws, comm);
        found |= comm == "cpumap/1";
    }
    EXPECT_TRUE(found);
    EXPECT_TRUE(map->erase(1));
}

TEST_F(cpumap_test, RingFull)
{
    begin(exclusion_mode::exclusive, 20);
    cpu_hold hold(*rt, 1);
    redirect(packets(50), to(map, 1));
    EXPECT_EQ(errors(xdp_error::enobufs), 30U);
    EXPECT_EQ(drops(DROP_XDP_REDIRECT), 30U);
    redirect(packets(5), to(map, 1));
    EXPECT_EQ(errors(xdp_error::enobufs), 35U);
    hold.let_go();
    expect_arrived(1, 20);
    rt->call_on(1, [](softnet_data &) {}); // the poll gives the places back at its end
    redirect(packets(10, 20), to(map, 1));
    expect_arrived(1, 30);
}

TEST_F(cpumap_test, EntryDeletedWithPacketsWaiting)
{
    begin();
    cpu_hold hold(*rt, 1);
    redirect(packets(40), to(map, 1));
    std::thread control([&] { EXPECT_TRUE(map->erase(1)); });
    EXPECT_TRUE(arrived().empty());
    hold.let_go();
    control.join();
    EXPECT_EQ(arrived(), expected(1, 40)) << "it runs until it is empty";
    EXPECT_EQ(redirect(packets(1), to(map, 1)), std::vector<unsigned>{XDP_ABORTED});
}

TEST_F(cpumap_test, EntryReplacedWithPacketsWaiting)
{
    begin();
    cpu_hold hold(*rt, 1);
    redirect(packets(40), to(map, 1));
    std::thread control([&] { map->update({.key = 1, .qsize = 64}); });
    hold.let_go();
    control.join();
    redirect(packets(10, 40), to(map, 1));
    expect_arrived(1, 50);
    map->update({.key = 1, .qsize = 0});
    EXPECT_TRUE(map->entries().empty());
}

TEST_F(cpumap_test, OriginRemovedWithPacketsWaiting)
{
    begin();
    cpu_hold hold(*rt, 1);
    redirect(packets(40), to(map, 1));
    std::thread control([&] { core->unregister_netdevice(*in); });
    hold.let_go();
    control.join();
    EXPECT_EQ(arrived(), expected(1, 40)) << "before it is gone";
}

TEST_F(cpumap_test, TargetGoesOffline)
{
    begin();
    redirect(packets(40), to(map, 1));
    rt->cpu_down(1);
    EXPECT_EQ(arrived(), expected(1, 40)) << "what was under way";
    redirect(packets(10, 40), to(map, 1));
    EXPECT_TRUE(eventually([&] { return arrived().size() == 50; }));
    EXPECT_EQ(arrived().back().cpu, 0U) << "by who serves it";
    rt->cpu_up(1);
    redirect(packets(1, 50), to(map, 1));
    EXPECT_TRUE(eventually([&] { return arrived().size() == 51; }));
    EXPECT_EQ(arrived().back().cpu, 1U);
}

TEST_F(cpumap_test, SecondProgram)
{
    ifindex_t out = 0;
    std::atomic<unsigned> elsewhere{0};
    const auto prog = make_xdp_program("second", [&](halfpoll_xdp_burst &b, std::uint32_t i) noexcept -> std::uint8_t {
        elsewhere += b.cpu != 1;
        switch (number_of(b, i) % 4) {
        case 0:
            return XDP_PASS;
        case 1:
            return XDP_DROP;
        case 2:
            return xdp_redirect(&b, i, out);
        default:
            return XDP_TX; // a packet from a CPU map has no device to return by
        }
    });
    begin(exclusion_mode::exclusive, 512, prog);
    net_device &dev = add("out");
    out = dev.ifindex;
    redirect(packets(64), to(map, 1));
    EXPECT_TRUE(eventually([&] { return arrived().size() == 16 && sent(dev).size() == 16; }));
    EXPECT_TRUE(eventually([&] { return drops(DROP_XDP) == 16 && drops(DROP_XDP_ABORTED) == 16; }));
    EXPECT_EQ(elsewhere, 0U);
}

TEST_F(cpumap_test, RefusesWhatCannotBe)
{
    begin();
    EXPECT_THROW(map->update({.key = 2, .qsize = 8}), error) << "no such CPU";
    EXPECT_THROW(map->update({.key = 0, .qsize = CPUMAP_MAX_QSIZE + 1}), error);
    EXPECT_THROW(map->update({.key = 1, .qsize = 8}, BPF_NOEXIST), error);
    EXPECT_EQ(map->entries().size(), 1U);
    EXPECT_EQ(redirect(packets(1), to(map, 1, BPF_F_BROADCAST)), std::vector<unsigned>{XDP_ABORTED});
}

class xskmap_test : public redirect_rig
{
protected:
    void begin(unsigned size)
    {
        start(2);
        map = xdp_map_create(*core, "socks", xdp_map_type::xskmap, 4);
        socket = std::make_shared<xdp_socket>(*core, size);
        map->update({.key = 0, .socket = socket});
    }
    void TearDown() override
    {
        map.reset();
        core.reset();
        socket.reset();
        redirect_rig::TearDown();
    }
    bool readable() const
    {
        pollfd p{socket->fd(), POLLIN, 0};
        return poll(&p, 1, 0) == 1;
    }
    std::vector<std::uint32_t> receive_all()
    {
        std::vector<std::uint32_t> got;
        rte_mbuf *pkts[16];
        while (const unsigned n = socket->receive(pkts, 16)) {
            for (unsigned i = 0; i < n; ++i) {
                got.push_back(*rte_pktmbuf_mtod(pkts[i], std::uint32_t *));
                rte_pktmbuf_free(pkts[i]);
            }
        }
        return got;
    }
    std::shared_ptr<xdp_map> map;
    std::shared_ptr<xdp_socket> socket;
};

TEST_F(xskmap_test, DeliversToTheEmbedderAndRingsOnlyOneWhoWaits)
{
    begin(128);
    EXPECT_TRUE(receive_all().empty());
    EXPECT_FALSE(readable());
    redirect(packets(20), to(map, 0));
    EXPECT_TRUE(readable());
    EXPECT_EQ(receive_all(), numbers(20));
    EXPECT_FALSE(readable());
    rte_mbuf *one;
    redirect(packets(2), to(map, 0));
    EXPECT_EQ(socket->receive(&one, 1), 1U);
    rte_pktmbuf_free(one);
    std::uint64_t count;
    ASSERT_EQ(read(socket->fd(), &count, sizeof count), 8);
    EXPECT_EQ(count, 1U);
    redirect(packets(2, 2), to(map, 0));
    EXPECT_FALSE(readable()) << "it was receiving";
    EXPECT_EQ(receive_all(), numbers(3, 1));
    EXPECT_EQ(socket->packets(), 24U);
}

TEST_F(xskmap_test, FromAllCpus)
{
    begin(128);
    redirect(packets(20), to(map, 0), 0);
    redirect(packets(20, 20), to(map, 0), 1);
    std::vector<std::uint32_t> got = receive_all();
    std::ranges::sort(got);
    EXPECT_EQ(got, numbers(40));
}

TEST_F(xskmap_test, SocketFull)
{
    begin(20);
    redirect(packets(50), to(map, 0));
    EXPECT_EQ(errors(xdp_error::enobufs), 30U);
    EXPECT_EQ(drops(DROP_XDP_REDIRECT), 30U);
    EXPECT_EQ(receive_all(), numbers(20));
}

TEST_F(xskmap_test, WhatNobodyTakesIsFreedWithTheSocket)
{
    begin(64);
    redirect(packets(30), to(map, 0));
    EXPECT_TRUE(map->erase(0));
    EXPECT_EQ(redirect(packets(1), to(map, 0, XDP_PASS)), std::vector<unsigned>{XDP_PASS});
    EXPECT_EQ(socket.use_count(), 1) << "the map has let go of it";
}

TEST_F(xskmap_test, AnInterfaceIsASocketToo)
{
    begin(64);
    net_device &out = add("out");
    map->update({.key = 1, .ifindex = out.ifindex});
    redirect(packets(30), to(map, 1));
    EXPECT_EQ(sent(out), numbers(30));
    EXPECT_THROW(map->update({.key = 2}), error);
    EXPECT_THROW(map->update({.key = 2, .ifindex = out.ifindex, .socket = socket}), error);
    core->unregister_netdevice(out);
    EXPECT_EQ(map->entries().size(), 1U);
}

/// A shared-memory interface (memif) takes the place of a socket: its peer in another process holds the other end.
TEST_F(redirect_rig, ToAnotherProcess)
{
    std::string dir = std::filesystem::temp_directory_path() / "halfpoll-memif-XXXXXX";
    ASSERT_NE(mkdtemp(dir.data()), nullptr);
    const std::string socket = "socket-abstract=no,socket=" + dir + "/sock";
    start();
    net_device &memif = core->register_netdevice(make_ethdev_port("net_memif0,role=server," + socket),
                                                 {.name = "memif", .descriptors = 256});
    const auto map = xdp_map_create(*core, "socks", xdp_map_type::xskmap);
    map->update({.key = 3, .ifindex = memif.ifindex});
    xdp_attach(*core, memif, make_xdp_program("back", [&](halfpoll_xdp_burst &b, std::uint32_t i) noexcept {
        return xdp_redirect_map(&b, i, map.get(), 3, 0);
    }));
    {
        child_process peer("virtio_peer", "net_memif0,role=client," + socket);
        EXPECT_EQ(peer.ask("up"), "up");
        EXPECT_TRUE(eventually([&] {
            core->run_control();
            return memif.carrier.load();
        }));
        for (const char *number : {"1", "2", "3"}) {
            EXPECT_EQ(peer.ask(number), "back");
        }
        EXPECT_EQ(xdp_counters_of(memif, 0).redirect, 3U);
        EXPECT_EQ(peer.end(), 0);
    }
    core->unregister_netdevice(memif);
    EXPECT_TRUE(map->entries().empty());
    std::filesystem::remove_all(dir);
}

/// Makes each tracepoint record at least one event.
TEST_F(cpumap_test, TracedOrNot)
{
    const auto fails = make_xdp_program(
        "fails", [](halfpoll_xdp_burst &, std::uint32_t) noexcept -> std::uint8_t { return XDP_ABORTED; });
    begin();
    net_device &a = add("a"), &b = add("b");
    const auto ports = xdp_map_create(*core, "ports", xdp_map_type::devmap);
    ports->update({.key = 1, .ifindex = a.ifindex});
    ports->update({.key = 2, .ifindex = b.ifindex, .prog = fails});
    redirect(packets(20), to(ports, 1));
    redirect(packets(5), to(ports, 2));
    redirect(packets(3), {nullptr, 99, 0});
    redirect(packets(30), to(map, 1));
    expect_arrived(1, 30);
    EXPECT_EQ(sent(a), numbers(20));
    EXPECT_EQ(drops(DROP_XDP_ABORTED), 5U);
    EXPECT_EQ(errors(xdp_error::einval), 3U);
}

/// Number of events by name in the channels of a trace (CTF, as DPDK writes it).
std::map<std::string, unsigned> events_of(const std::filesystem::path &dir)
{
    // Size of the fields behind the header (id in the upper 16 bits), by event.
    const std::map<std::string, std::size_t> sizes = {{"xdp_exception", 12},      {"xdp_redirect", 44},
                                                      {"xdp_redirect_err", 48},   {"xdp_devmap_xmit", 16},
                                                      {"xdp_cpumap_enqueue", 16}, {"xdp_cpumap_kthread", 12}};
    std::map<unsigned, std::string> names;
    std::map<std::string, unsigned> seen;
    std::vector<std::filesystem::path> channels;
    for (const auto &file : std::filesystem::recursive_directory_iterator(dir)) {
        if (file.path().filename() == "metadata") {
            std::ifstream in(file.path());
            unsigned id = 0;
            for (std::string word; in >> word;) {
                if (word == "id") {
                    in >> word >> id;
                } else if (word == "name") {
                    in >> word >> word;
                    names[id] = word.substr(1, word.size() - 3); // strips the quotes and the semicolon of "…";
                }
            }
        } else if (file.path().filename().string().starts_with("channel")) {
            channels.push_back(file.path());
        }
    }
    for (const auto &channel : channels) {
        std::ifstream in(channel, std::ios::binary);
        const std::vector<char> bytes{std::istreambuf_iterator<char>(in), {}};
        std::size_t at = 56; // header of a channel: magic, uuid, lcore, thread name
        while (at + sizeof(std::uint64_t) <= bytes.size()) {
            std::uint64_t header;
            std::memcpy(&header, &bytes[at], sizeof header);
            const auto name = names.find(static_cast<unsigned>(header >> 48));
            if (header == 0 || name == names.end() || !sizes.contains(name->second)) {
                break;
            }
            ++seen[name->second];
            at = (at + sizeof header + sizes.at(name->second) - 56 + 7) / 8 * 8 + 56;
        }
    }
    return seen;
}

TEST(xdp_trace, WritesAllTracepoints)
{
    std::string dir = std::filesystem::temp_directory_path() / "halfpoll-trace-XXXXXX";
    ASSERT_NE(mkdtemp(dir.data()), nullptr);
    const std::string command = "HALFPOLL_TEST_TRACE_DIR=" + dir + " " +
                                std::filesystem::read_symlink("/proc/self/exe").string() +
                                " --gtest_filter=cpumap_test.TracedOrNot > " + dir + "/log 2>&1";
    EXPECT_EQ(std::system(command.c_str()), 0);
    const auto seen = events_of(dir);
    for (const char *name : {"xdp_exception", "xdp_redirect", "xdp_redirect_err", "xdp_devmap_xmit",
                             "xdp_cpumap_enqueue", "xdp_cpumap_kthread"}) {
        EXPECT_TRUE(seen.contains(name)) << name;
    }
    std::filesystem::remove_all(dir);
}

} // namespace
