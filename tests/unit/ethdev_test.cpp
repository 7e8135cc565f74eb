// SPDX-License-Identifier: BSD-3-Clause
//
// Configuration of DPDK ports, and devices that vanish and return, on virtual devices that need no peer.
#define ALLOW_EXPERIMENTAL_API // to report a removal as a bus does
#include "control_until.hpp"
#include "netio/eal/pci_sysfs.hpp"
#include "netio/ethdev/ethdev_conf.hpp"
#include "netio/ethdev/ethdev_flow.hpp"
#include "netio/ethdev/rx_vectors.hpp"
#include "refusal.hpp"

#include <halfpoll/eal.hpp>
#include <halfpoll/ethdev.hpp>
#include <halfpoll/net_core.hpp>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rte_dev.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include <poll.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <thread>

// Functions that drivers call. DPDK declares them for drivers only.
extern "C" {
struct rte_eth_dev;
rte_eth_dev *rte_eth_dev_allocated(const char *name);
int rte_eth_dev_callback_process(rte_eth_dev *dev, rte_eth_event_type event, void *ret_param);
}

using namespace halfpoll;
using namespace halfpoll::test;
using testing::HasSubstr;

namespace
{

constexpr unsigned POOL_PACKETS = 8191;

class ethdev_test : public testing::Test
{
protected:
    void SetUp() override { pool_ = packet_pool_create("ethdev_test", POOL_PACKETS, 2176, 0); }
    void TearDown() override
    {
        EXPECT_EQ(rte_mempool_avail_count(pool_), POOL_PACKETS) << "packets leaked";
        packet_pool_free(pool_);
    }

    rte_mempool *pool_ = nullptr;
};

// ---- the requested configuration ----

class ethdev_conf_test : public ethdev_test
{
protected:
    void SetUp() override
    {
        ethdev_test::SetUp();
        options_ = {.rx_queues = 4, .tx_queues = 1, .mtu = 1500, .pool = pool_};
        nic_.driver_name = "net_test";
        nic_.rx_offload_capa = ~0ULL;
        nic_.tx_offload_capa = ~0ULL;
        nic_.flow_type_rss_offloads = ~0ULL;
        nic_.hash_key_size = 40;
        nic_.dev_flags = &flags_;
    }
    rte_eth_conf conf() const { return ethdev_conf("port", options_, nic_, {.rxq = true, .lsc = false}); }

    port_options options_;
    rte_eth_dev_info nic_{};
    std::uint32_t flags_ = 0;
};

TEST_F(ethdev_conf_test, AsksForTheInterruptsThatAreWanted)
{
    EXPECT_EQ(conf().intr_conf.rxq, 1U);
    EXPECT_EQ(conf().intr_conf.lsc, 0U);
    EXPECT_EQ(conf().intr_conf.rmv, 0U);
    flags_ = RTE_ETH_DEV_INTR_RMV;
    EXPECT_EQ(conf().intr_conf.rmv, 1U);
}

TEST_F(ethdev_conf_test, NothingThatChangesFramesIsTurnedOnEvenIfTheDeviceCanDoAll)
{
    EXPECT_EQ(conf().rxmode.offloads, RTE_ETH_RX_OFFLOAD_RSS_HASH);
    EXPECT_EQ(conf().txmode.offloads, RTE_ETH_TX_OFFLOAD_MULTI_SEGS);
    nic_.tx_offload_capa = 0;
    EXPECT_EQ(conf().txmode.offloads, 0U);
}

TEST_F(ethdev_conf_test, RssHashesAsFarAsTheDeviceCanWithOneRandomKey)
{
    rte_eth_conf c = conf();
    EXPECT_EQ(c.rxmode.mq_mode, RTE_ETH_MQ_RX_RSS);
    EXPECT_EQ(c.rx_adv_conf.rss_conf.rss_hf, RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP);
    const rte_eth_rss_conf &rss = c.rx_adv_conf.rss_conf;
    ASSERT_EQ(rss.rss_key_len, 40U);
    ASSERT_NE(rss.rss_key, nullptr);
    EXPECT_GT(std::set<std::uint8_t>(rss.rss_key, rss.rss_key + 40).size(), 10U) << "not random";
    EXPECT_EQ(conf().rx_adv_conf.rss_conf.rss_key, rss.rss_key) << "the same on every port";
    nic_.flow_type_rss_offloads = RTE_ETH_RSS_IPV4 | RTE_ETH_RSS_L2_PAYLOAD;
    nic_.hash_key_size = 0;
    c = conf();
    EXPECT_EQ(c.rx_adv_conf.rss_conf.rss_hf, RTE_ETH_RSS_IPV4);
    EXPECT_EQ(c.rx_adv_conf.rss_conf.rss_key, nullptr) << "the driver's own";
}

TEST(ethdev_flow, ARuleNamesTheWholeFlow)
{
    flow_tuple flow;
    flow.protocol = 6;
    flow.src = {10, 1, 2, 3};
    flow.dst = {10, 4, 5, 6};
    flow.sport = rte_cpu_to_be_16(1000);
    flow.dport = rte_cpu_to_be_16(80);
    const ethdev_flow_rule tcp4(flow, 3);
    EXPECT_EQ(tcp4.attr()->ingress, 1U);
    EXPECT_EQ(tcp4.pattern()[0].type, RTE_FLOW_ITEM_TYPE_ETH);
    EXPECT_EQ(tcp4.pattern()[0].spec, nullptr);
    ASSERT_EQ(tcp4.pattern()[1].type, RTE_FLOW_ITEM_TYPE_IPV4);
    const auto &ip4 = *static_cast<const rte_flow_item_ipv4 *>(tcp4.pattern()[1].spec);
    EXPECT_EQ(ip4.hdr.src_addr, rte_cpu_to_be_32(0x0A010203));
    EXPECT_EQ(ip4.hdr.dst_addr, rte_cpu_to_be_32(0x0A040506));
    const auto &ip4_mask = *static_cast<const rte_flow_item_ipv4 *>(tcp4.pattern()[1].mask);
    EXPECT_EQ(ip4_mask.hdr.src_addr & ip4_mask.hdr.dst_addr, UINT32_MAX);
    ASSERT_EQ(tcp4.pattern()[2].type, RTE_FLOW_ITEM_TYPE_TCP);
    const auto &ports = *static_cast<const rte_flow_item_tcp *>(tcp4.pattern()[2].spec);
    EXPECT_EQ(ports.hdr.src_port, flow.sport);
    EXPECT_EQ(ports.hdr.dst_port, flow.dport);
    EXPECT_EQ(tcp4.pattern()[3].type, RTE_FLOW_ITEM_TYPE_END);
    ASSERT_EQ(tcp4.actions()[0].type, RTE_FLOW_ACTION_TYPE_QUEUE);
    EXPECT_EQ(static_cast<const rte_flow_action_queue *>(tcp4.actions()[0].conf)->index, 3);
    EXPECT_EQ(tcp4.actions()[1].type, RTE_FLOW_ACTION_TYPE_END);
    flow.ip6 = true;
    flow.protocol = 17;
    const ethdev_flow_rule udp6(flow, 0);
    ASSERT_EQ(udp6.pattern()[1].type, RTE_FLOW_ITEM_TYPE_IPV6);
    EXPECT_EQ(std::memcmp(&static_cast<const rte_flow_item_ipv6 *>(udp6.pattern()[1].spec)->hdr.src_addr,
                          flow.src.data(), 16),
              0);
    EXPECT_EQ(udp6.pattern()[2].type, RTE_FLOW_ITEM_TYPE_UDP);
}

TEST_F(ethdev_conf_test, WithoutRssOrWithOneQueueThereIsNoHash)
{
    nic_.flow_type_rss_offloads = 0;
    EXPECT_EQ(conf().rxmode.mq_mode, RTE_ETH_MQ_RX_NONE);
    nic_.flow_type_rss_offloads = ~0ULL;
    options_.rx_queues = 1;
    EXPECT_EQ(conf().rxmode.mq_mode, RTE_ETH_MQ_RX_NONE);
}

TEST_F(ethdev_conf_test, FramesLongerThanABufferTakeChainsBothWays)
{
    options_.mtu = 9000;
    EXPECT_EQ(conf().rxmode.offloads, RTE_ETH_RX_OFFLOAD_SCATTER | RTE_ETH_RX_OFFLOAD_RSS_HASH);
    nic_.rx_offload_capa = 0;
    EXPECT_THAT(refusal([&] { conf(); }), HasSubstr("net_test cannot scatter"));
    nic_.rx_offload_capa = RTE_ETH_RX_OFFLOAD_SCATTER;
    nic_.tx_offload_capa = 0;
    EXPECT_THAT(refusal([&] { conf(); }), HasSubstr("net_test cannot send chains"));
}

TEST(ethdev_reta_test, EveryQueueGetsAnEqualShareOfEverySize)
{
    for (const unsigned size : {16U, 64U, 128U, 512U}) {
        for (const unsigned queues : {1U, 3U, 4U, 16U}) {
            const auto table = ethdev_reta(size, queues);
            std::map<unsigned, unsigned> share;
            for (unsigned i = 0; i < size; ++i) {
                ASSERT_TRUE(table[i / 64].mask >> (i % 64) & 1);
                ++share[table[i / 64].reta[i % 64]];
            }
            ASSERT_EQ(share.size(), queues);
            ASSERT_LT(share.rbegin()->first, queues);
            for (const auto &[queue, entries] : share) {
                EXPECT_GE(entries, size / queues);
                EXPECT_LE(entries, size / queues + 1);
            }
        }
    }
    EXPECT_EQ(ethdev_reta(16, 2)[0].mask, 0xffffU) << "entries beyond the table";
}

// ---- interrupt vectors that queues share ----

/// A device whose queues' interrupts are masked by shared masks.
struct fake_vectors {
    explicit fake_vectors(const std::vector<int> &fds) : vectors(fds) {}
    int enable(std::uint16_t q)
    {
        return vectors.enable(q, [this] { return unmask(); });
    }
    int disable(std::uint16_t q)
    {
        return vectors.disable(
            q, [this] { return masked = true, 0; }, [this] { return unmask(); });
    }
    int unmask()
    {
        masked = masked && unmask_result < 0;
        return unmask_result;
    }
    rx_vectors vectors;
    std::atomic<bool> masked{true};
    int unmask_result = 0;
};

TEST(rx_vectors_test, AQueueAloneOnItsVectorMasksIt)
{
    fake_vectors dev({5, 6, -1, -1});
    EXPECT_FALSE(dev.vectors.shared(0));
    EXPECT_FALSE(dev.vectors.shared(3)) << "no interrupt is no shared one";
    dev.enable(0);
    dev.enable(1);
    dev.disable(1);
    EXPECT_TRUE(dev.masked);
}

TEST(rx_vectors_test, ASharedVectorStaysUnmaskedWhileAQueueWaits)
{
    fake_vectors dev({5, 5, 5});
    EXPECT_TRUE(dev.vectors.shared(0));
    dev.enable(0);
    dev.enable(1);
    dev.disable(1); // queue 1 becomes busy
    EXPECT_FALSE(dev.masked);
    dev.enable(2);
    dev.disable(0);
    EXPECT_FALSE(dev.masked);
    dev.disable(2);
    EXPECT_TRUE(dev.masked);
}

TEST(rx_vectors_test, AFailedEnableDoesNotCount)
{
    fake_vectors dev({5, 5});
    dev.unmask_result = -EIO;
    EXPECT_EQ(dev.enable(0), -EIO);
    dev.unmask_result = 0;
    dev.enable(1);
    dev.disable(1);
    EXPECT_TRUE(dev.masked);
}

TEST(rx_vectors_test, QueuesOnTwoCpusNeverLeaveAWaitingOneMasked)
{
    fake_vectors dev({5, 5});
    std::atomic<bool> stop{false};
    std::thread other([&] {
        while (!stop) {
            dev.enable(1);
            dev.disable(1);
        }
    });
    unsigned lost = 0;
    for (unsigned i = 0; i < 100'000; ++i) {
        dev.enable(0);
        // The other queue may be about to mask and then to unmask; in the end the vector is unmasked.
        for (unsigned turn = 0; dev.masked && turn < 1'000'000; ++turn) {
            lost += turn == 999'999;
        }
        dev.disable(0);
    }
    stop = true;
    other.join();
    EXPECT_EQ(lost, 0U);
}

// ---- PCI devices in sysfs ----

class pci_device_test : public testing::Test
{
protected:
    void SetUp() override
    {
        char dir[] = "/tmp/halfpoll-pci-XXXXXX";
        ASSERT_NE(mkdtemp(dir), nullptr);
        dir_ = dir;
    }
    void TearDown() override { std::filesystem::remove_all(dir_); }
    void bind(const std::string &driver)
    {
        const auto device = dir_ / address_;
        std::filesystem::create_directories(device);
        std::filesystem::remove(device / "driver");
        if (!driver.empty()) {
            std::filesystem::create_symlink("../../drivers/" + driver, device / "driver");
        }
    }
    std::string look()
    {
        return refusal([&] { require_pci_device(address_, dir_); });
    }

    std::filesystem::path dir_;
    const std::string address_ = "0000:01:00.0";
};

TEST_F(pci_device_test, IsOursOnlyIfItIsThereAndBoundToVfio)
{
    EXPECT_THAT(look(), HasSubstr("no PCI device 0000:01:00.0"));
    bind("");
    EXPECT_THAT(look(), HasSubstr("bound to no driver"));
    bind("igb");
    EXPECT_THAT(look(), HasSubstr("bound to igb, not to vfio-pci (dpdk-devbind.py -b vfio-pci 0000:01:00.0)"));
    EXPECT_THROW(require_pci_device(address_, dir_), device_absent);
    bind("vfio-pci");
    EXPECT_EQ(look(), "");
    bind("mlx5_core");
    EXPECT_EQ(look(), "");
}

TEST_F(pci_device_test, ItsVectorsAreCounted)
{
    bind("vfio-pci");
    EXPECT_EQ(pci_interrupts_of(address_, dir_).vectors, 1U) << "INTx";
    const auto irqs = dir_ / address_ / "msi_irqs";
    std::filesystem::create_directories(irqs);
    EXPECT_EQ(pci_interrupts_of(address_, dir_).vectors, 1U);
    std::ofstream(irqs / "40") << "msi\n";
    EXPECT_EQ(pci_interrupts_of(address_, dir_).vectors, 1U);
    EXPECT_FALSE(pci_interrupts_of(address_, dir_).msix);
    std::ofstream(irqs / "40") << "msix\n";
    std::ofstream(irqs / "41") << "msix\n";
    EXPECT_EQ(pci_interrupts_of(address_, dir_).vectors, 2U);
    EXPECT_TRUE(pci_interrupts_of(address_, dir_).msix);
}

TEST_F(pci_device_test, DevicesThatPreferMsiAreKnownByTheirIds)
{
    bind("vfio-pci");
    EXPECT_FALSE(pci_prefers_msi(address_, dir_));
    std::ofstream(dir_ / address_ / "vendor") << "0x8086\n";
    std::ofstream(dir_ / address_ / "device") << "0x10c9\n";
    EXPECT_FALSE(pci_prefers_msi(address_, dir_));
    std::ofstream(dir_ / address_ / "device") << "0x10d3\n";
    EXPECT_TRUE(pci_prefers_msi(address_, dir_));
}

TEST_F(pci_device_test, OnlyAFullAddressIsOne)
{
    EXPECT_TRUE(is_pci_address("0000:01:00.0"));
    EXPECT_TRUE(is_pci_address("0001:fe:1f.7"));
    EXPECT_FALSE(is_pci_address("01:00.0"));
    EXPECT_FALSE(is_pci_address("0000:01:00.8"));
    EXPECT_FALSE(is_pci_address("net_null0"));
    EXPECT_FALSE(is_pci_address("port:0"));
}

TEST_F(pci_device_test, APortOnADeviceThatIsNotThereIsAbsent)
{
    EXPECT_THROW(make_ethdev_port("ffff:01:00.0"), device_absent);
}

// ---- virtual devices ----

/// A device on the runtime that detects removal. It receives frames by itself.
class vdev_test : public ethdev_test
{
protected:
    void SetUp() override
    {
        ethdev_test::SetUp();
        rt_ = std::make_unique<runtime>(runtime_options{});
        core_ = std::make_unique<net_core>(*rt_, pool_); // without a handler, received frames are dropped
    }
    void TearDown() override
    {
        core_.reset();
        rt_.reset();
        EXPECT_EQ(rte_eth_dev_count_avail(), 0U) << "ports left";
        ethdev_test::TearDown();
    }
    void add(const std::string &devargs)
    {
        net_device_options options;
        options.name = "vdev";
        options.descriptors = 64;
        options.reprobe = [devargs] { return make_ethdev_port(devargs); };
        dev_ = &core_->register_netdevice(options.reprobe(), options);
    }
    bool wait_for(const std::function<bool()> &condition) { return control_until(*core_, condition); }
    bool receives()
    {
        const std::uint64_t before = core_->drops(DROP_NO_HANDLER);
        return eventually([&] { return core_->drops(DROP_NO_HANDLER) > before + 100; });
    }
    static unsigned id_of(const char *device)
    {
        std::uint16_t id;
        return rte_eth_dev_get_port_by_name(device, &id) == 0 ? id : ~0U;
    }

    std::unique_ptr<runtime> rt_;
    std::unique_ptr<net_core> core_;
    net_device *dev_ = nullptr;
};

TEST_F(vdev_test, ADeviceThatItsBusTakesAwayIsFreedAndReturns)
{
    add("net_null0");
    ASSERT_TRUE(receives());
    const unsigned id = id_of("net_null0");
    for (int round = 0; round < 2; ++round) {
        // Called from another thread, as by EAL's interrupt thread, the way a bus reports a removal.
        std::thread([] { rte_dev_event_callback_process("net_null0", RTE_DEV_EVENT_REMOVE); }).join();
        ASSERT_TRUE(wait_for([&] { return !dev_->failure.empty(); }));
        EXPECT_EQ(dev_->failure, dev_->device + " was removed");
        EXPECT_EQ(id_of("net_null0"), ~0U) << "the DPDK port is not freed";
        rt_->call_on(0, [&](softnet_data &) { core_->cpu(0).cache->drain(); });
        EXPECT_EQ(rte_mempool_avail_count(pool_), POOL_PACKETS) << "it kept packets";
        ASSERT_TRUE(wait_for([&] { return dev_->failure.empty(); })) << dev_->failure;
        EXPECT_EQ(id_of("net_null0"), id) << "the number is free again";
        EXPECT_TRUE(receives());
    }
}

TEST_F(vdev_test, EventsOfOtherDevicesAndPortsAreNotItsOwn)
{
    add("net_null0");
    auto other = make_ethdev_port("net_null1");
    std::vector<port_event> events;
    other->set_event_handler([&](port_event e) { events.push_back(e); });
    rte_dev_event_callback_process("net_null1", RTE_DEV_EVENT_REMOVE);
    rte_dev_event_callback_process("net_null1", RTE_DEV_EVENT_ADD);
    rte_eth_dev_callback_process(rte_eth_dev_allocated("net_null1"), RTE_ETH_EVENT_INTR_LSC, nullptr);
    core_->run_control();
    EXPECT_EQ(dev_->failure, "");
    EXPECT_EQ(events, (std::vector{port_event::removed, port_event::link}));
    other.reset();
    rte_dev_event_callback_process("net_null1", RTE_DEV_EVENT_REMOVE);
    EXPECT_EQ(events.size(), 2U) << "told after it was destroyed";
}

TEST_F(vdev_test, WhatDriversReportArrivesUnderItsName)
{
    auto port = make_ethdev_port("net_null0");
    std::vector<port_event> events;
    port->set_event_handler([&](port_event e) { events.push_back(e); });
    for (const rte_eth_event_type type :
         {RTE_ETH_EVENT_INTR_LSC, RTE_ETH_EVENT_INTR_RMV, RTE_ETH_EVENT_INTR_RESET, RTE_ETH_EVENT_ERR_RECOVERING,
          RTE_ETH_EVENT_RECOVERY_SUCCESS, RTE_ETH_EVENT_RECOVERY_FAILED, RTE_ETH_EVENT_QUEUE_STATE}) {
        rte_eth_dev_callback_process(rte_eth_dev_allocated("net_null0"), type, nullptr);
    }
    EXPECT_EQ(events, (std::vector{port_event::link, port_event::removed, port_event::reset, port_event::recovering,
                                   port_event::recovered, port_event::failed}));
}

TEST_F(vdev_test, ADriverThatCannotResetIsProbedAgain)
{
    add("net_null0");
    rte_eth_dev_callback_process(rte_eth_dev_allocated("net_null0"), RTE_ETH_EVENT_INTR_RESET, nullptr);
    bool reset = false;
    core_->on_change = [&](net_device &dev) { reset |= dev.failure == "the device is being reset"; };
    ASSERT_TRUE(wait_for([&] { return reset; }));
    EXPECT_EQ(dev_->failure, "");
    EXPECT_TRUE(receives());
}

TEST_F(vdev_test, TheAddressOfTheInterfaceIsTheDevices)
{
    add("net_null0");
    const rte_ether_addr mac{{2, 0, 0, 0, 0, 9}};
    core_->set_mac(*dev_, mac);
    EXPECT_TRUE(rte_is_same_ether_addr(&dev_->mac, &mac));
    rte_ether_addr own;
    ASSERT_EQ(rte_eth_macaddr_get(static_cast<std::uint16_t>(id_of("net_null0")), &own), 0);
    EXPECT_TRUE(rte_is_same_ether_addr(&own, &mac));
    EXPECT_TRUE(receives());
}

TEST_F(vdev_test, MulticastIsReceivedAndPromiscuousModeIsNotNeededForIt)
{
    auto port = make_ethdev_port("net_ring0");
    port->open({.descriptors = 64, .pool = pool_});
    const auto id = static_cast<std::uint16_t>(id_of("net_ring0"));
    EXPECT_EQ(rte_eth_allmulticast_get(id), 1);
    EXPECT_EQ(rte_eth_promiscuous_get(id), 0);
    port->set_promiscuous(true);
    EXPECT_EQ(rte_eth_promiscuous_get(id), 1);
    port->set_promiscuous(false);
    EXPECT_EQ(rte_eth_promiscuous_get(id), 0);
}

} // namespace
