// SPDX-License-Identifier: BSD-3-Clause
//
// Whatever becomes of a redirect, every frame is sent or freed once, before the poll ends.
#include "redirect_rig.hpp"

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
    /// Nothing but that error, for so many packets.
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
    wire_of(*a).on_tx = [this](rte_mbuf **pkts, unsigned n) { // what xmit is given waits there for 32
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
        xmit_flush(core->cpu(0));
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
        xmit_flush(core->cpu(0));
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
        xmit_flush(core->cpu(0));
    });
    EXPECT_EQ(sent(*a), numbers(6));
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

} // namespace
