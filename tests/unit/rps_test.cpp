// SPDX-License-Identifier: BSD-3-Clause
// Steering of received packets: by the map, by flows, with flow limits, and without reordering after any change.
#include "fake_port.hpp"
#include "netio/steering/rps_internal.hpp"
#include "refusal.hpp"

#include <halfpoll/eal.hpp>
#include <halfpoll/flow_hash.hpp>
#include <halfpoll/softnet_data.hpp>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <map>
#include <thread>

using namespace halfpoll;
using namespace halfpoll::test;
using testing::HasSubstr;

namespace
{

constexpr unsigned POOL_PACKETS = 8191, CPUS = 3, LENGTH = 60;
constexpr unsigned NUMBER_AT = 42; ///< in the UDP payload

struct delivery {
    unsigned cpu;
    std::uint32_t flow, number;
};

class rps_test : public testing::Test
{
protected:
    void SetUp() override
    {
        pool_ = packet_pool_create("rps_test", POOL_PACKETS, 2176, 0);
        runtime_options options;
        options.cpus.assign(CPUS, cpu_options{});
        rt_ = std::make_unique<runtime>(options);
        core_ = std::make_unique<net_core>(*rt_, pool_);
        core_->set_rx_handler(handle, this);
        wire_ = std::make_shared<fake_wire>();
    }
    void TearDown() override
    {
        for (auto &gate : closed_) {
            gate = false;
        }
        core_.reset();
        rt_.reset();
        wire_.reset();
        EXPECT_EQ(rte_mempool_avail_count(pool_), POOL_PACKETS) << "packets leaked";
        packet_pool_free(pool_);
    }

    /// Adds the device, polled by CPU 0.
    rx_queue &open(const rps_config &rps)
    {
        net_device_options options;
        options.name = "in";
        options.cpus = {0};
        options.rps = rps;
        return *core_->register_netdevice(std::make_unique<fake_port>(wire_), options).queues[0];
    }
    static void handle(void *ctx, net_cpu &cpu, net_device &, rte_mbuf **pkts, unsigned n) noexcept
    {
        auto &self = *static_cast<rps_test *>(ctx);
        self.inside_[cpu.id] = true;
        while (self.closed_[cpu.id]) {
            std::this_thread::yield();
        }
        self.inside_[cpu.id] = false;
        {
            const std::lock_guard lock(self.mutex_);
            for (unsigned i = 0; i < n; ++i) {
                const auto *f = rte_pktmbuf_mtod(pkts[i], const std::uint8_t *);
                std::uint32_t source, number;
                std::memcpy(&source, f + 26, sizeof source);
                std::memcpy(&number, f + NUMBER_AT, sizeof number);
                self.got_.push_back({cpu.id, rte_be_to_cpu_32(source), number});
            }
        }
        rte_pktmbuf_free_bulk(pkts, n);
    }

    /// A UDP packet from address `flow`. Flow 0 is not IP.
    rte_mbuf *flow_packet(std::uint32_t flow, std::uint32_t number)
    {
        rte_mbuf *m = packet(pool_, 0, LENGTH);
        auto *f = rte_pktmbuf_mtod(m, std::uint8_t *);
        std::fill(f, f + LENGTH, std::uint8_t{0});
        f[12] = 0x08;
        f[13] = flow == 0 ? 0x06 : 0x00;
        f[14] = 0x45;
        f[23] = 17;
        f[34] = 1; // source port 256
        f[36] = 2; // destination port 512
        const std::uint32_t source = rte_cpu_to_be_32(flow);
        std::memcpy(f + 26, &source, sizeof source);
        std::memcpy(f + NUMBER_AT, &number, sizeof number);
        return m;
    }
    std::uint32_t hash_of(std::uint32_t flow)
    {
        rte_mbuf *m = flow_packet(flow, 0);
        std::uint32_t hash;
        flow_hash_burst(&m, 1, &hash);
        rte_pktmbuf_free(m);
        return hash;
    }
    /// The first flow from `from` on whose hash satisfies `is`.
    template <typename F>
    std::uint32_t find_flow(F is, std::uint32_t from = 1)
    {
        while (!is(hash_of(from))) {
            ++from;
        }
        return from;
    }
    static unsigned slot(std::uint32_t hash, unsigned len)
    {
        return static_cast<unsigned>(std::uint64_t{hash} * len >> 32);
    }

    void receive(std::uint32_t flow, unsigned n = 1)
    {
        for (unsigned i = 0; i < n; ++i) {
            wire_->receive(flow_packet(flow, sent_[flow]++));
            ++received_;
        }
    }
    std::size_t delivered()
    {
        const std::lock_guard lock(mutex_);
        return got_.size();
    }
    /// Returns false while a CPU has not finished a burst that it has passed to the handler.
    bool backlogs_empty() const
    {
        for (unsigned cpu = 0; cpu < CPUS; ++cpu) {
            const backlog_stats stats = backlog_stats_of(core_->cpu(cpu));
            if (stats.process_queue + stats.input_pkt_queue != 0) {
                return false;
            }
        }
        return true;
    }
    /// Waits until everything received so far is delivered and no flow has packets in flight.
    void expect_all()
    {
        ASSERT_TRUE(eventually([&] { return delivered() == received_ && backlogs_empty(); }))
            << delivered() << " of " << received_;
    }
    /// As expect_all(); expects that each flow is in order. Returns the CPUs that delivered the packets of each flow.
    std::map<std::uint32_t, std::vector<unsigned>> expect_all_in_order()
    {
        expect_all();
        std::map<std::uint32_t, std::vector<unsigned>> cpus;
        const std::lock_guard lock(mutex_);
        for (const delivery &d : got_) {
            EXPECT_EQ(d.number, cpus[d.flow].size()) << "flow " << d.flow;
            cpus[d.flow].push_back(d.cpu);
        }
        return cpus;
    }
    /// Blocks a CPU's handler and waits until the handler has been called with a first packet of the flow.
    void hold(unsigned cpu, std::uint32_t flow)
    {
        closed_[cpu] = true;
        receive(flow);
        ASSERT_TRUE(eventually([&] { return inside_[cpu].load(); }));
    }
    /// Waits until all packets that have arrived were polled and steered.
    void expect_steered(const rx_queue &q, std::uint64_t packets)
    {
        ASSERT_TRUE(eventually([&] {
            const rps_counters c = rps_counters_of(q);
            return c.steered + c.direct == packets;
        })) << rps_counters_of(q).steered;
    }

    rte_mempool *pool_ = nullptr;
    std::unique_ptr<runtime> rt_;
    std::unique_ptr<net_core> core_;
    std::shared_ptr<fake_wire> wire_;
    std::array<std::atomic<bool>, CPUS> closed_{}, inside_{};
    std::mutex mutex_;
    std::vector<delivery> got_;
    std::map<std::uint32_t, std::uint32_t> sent_; ///< number of packets sent, by flow
    std::atomic<std::size_t> received_{0};
};

TEST_F(rps_test, WithoutSettingsPacketsStay)
{
    rx_queue &q = open({});
    receive(1, 10);
    receive(0, 10);
    for (const auto &[flow, cpus] : expect_all_in_order()) {
        EXPECT_THAT(cpus, testing::Each(0U));
    }
    EXPECT_EQ(rps_counters_of(q).steered, 0U);
}

TEST_F(rps_test, TheHashChoosesInTheMap)
{
    rx_queue &q = open({.rps_cpus = {0, 2}});
    for (unsigned round = 0; round < 3; ++round) {
        for (std::uint32_t flow = 1; flow <= 200; ++flow) {
            receive(flow);
        }
    }
    unsigned local = 0;
    for (const auto &[flow, cpus] : expect_all_in_order()) {
        const unsigned expected = slot(hash_of(flow), 2) == 0 ? 0 : 2;
        EXPECT_THAT(cpus, testing::Each(expected)) << "flow " << flow;
        local += expected == 0;
    }
    EXPECT_GT(local, 50U);
    EXPECT_LT(local, 150U);
    EXPECT_EQ(rps_counters_of(q).steered, 600U) << "the own CPU goes through its backlog, too";
}

TEST_F(rps_test, WithoutAFlowPacketsStay)
{
    rx_queue &q = open({.rps_cpus = {1}});
    receive(0, 5);
    receive(1, 5);
    auto cpus = expect_all_in_order();
    EXPECT_THAT(cpus[0], testing::Each(0U));
    EXPECT_THAT(cpus[1], testing::Each(1U));
    EXPECT_EQ(rps_counters_of(q).direct, 5U);
}

TEST_F(rps_test, TheMapChangesWhileNothingIsInFlight)
{
    rx_queue &q = open({.rps_cpus = {1}});
    receive(1, 3);
    expect_all();
    for (const std::vector<unsigned> &map : {std::vector<unsigned>{2}, {}, {0}, {1, 2}}) {
        rps_configure(q, {.rps_cpus = map});
        EXPECT_TRUE(eventually([&] { return rps_settled(q); }));
        EXPECT_EQ(q.rps_settings.rps_cpus, map);
        receive(1, 3);
        expect_all();
    }
    const auto cpus = expect_all_in_order()[1];
    const unsigned last = 1 + slot(hash_of(1), 2);
    EXPECT_EQ(cpus, (std::vector<unsigned>{1, 1, 1, 2, 2, 2, 0, 0, 0, 0, 0, 0, last, last, last}));
}

/// If the flow moved to the new CPU at once, it would overtake itself.
TEST_F(rps_test, AChangeOfTheMapWaitsForWhatIsInFlight)
{
    rx_queue &q = open({.rps_cpus = {1}});
    hold(1, 1);
    rps_configure(q, {.rps_cpus = {2}});
    EXPECT_FALSE(rps_settled(q));
    ASSERT_TRUE(eventually([&] {
        receive(1);
        return rps_counters_of(q).pauses != 0;
    })) << "it pauses, in the end";
    EXPECT_FALSE(rps_settled(q));
    EXPECT_EQ(delivered(), 0U);
    closed_[1] = false;
    const auto cpus = expect_all_in_order()[1];
    EXPECT_EQ(cpus.front(), 1U);
    EXPECT_TRUE(rps_settled(q));
    receive(1);
    EXPECT_EQ(expect_all_in_order()[1].back(), 2U);
}

TEST_F(rps_test, TurningItOffWaitsToo)
{
    rx_queue &q = open({.rps_cpus = {1}});
    hold(1, 1);
    rps_configure(q, {});
    ASSERT_TRUE(eventually([&] {
        receive(1);
        return rps_counters_of(q).pauses != 0;
    }));
    EXPECT_EQ(delivered(), 0U) << "nothing was processed here meanwhile";
    closed_[1] = false;
    EXPECT_EQ(expect_all_in_order()[1].front(), 1U);
    receive(1);
    EXPECT_EQ(expect_all_in_order()[1].back(), 0U);
}

TEST_F(rps_test, ACpuThatIsTakenOutHasNothingLeft)
{
    rx_queue &q = open({.rps_cpus = {1, 2}, .rps_flow_cnt = 64});
    const std::uint32_t flow = find_flow([](std::uint32_t h) { return slot(h, 2) == 1; });
    set_rps_sock_flow_entries(*core_, 256);
    rps_record_sock_flow(*core_, hash_of(flow), 2);
    hold(2, flow);
    rps_set_online(*core_, 2, false);
    EXPECT_FALSE(rps_settled(q));
    EXPECT_FALSE(rps_drained(q));
    closed_[2] = false;
    ASSERT_TRUE(eventually([&] { return rps_settled(q); }));
    EXPECT_TRUE(rps_drained(q));
    receive(flow, 5);
    EXPECT_THAT(expect_all_in_order()[flow], testing::ElementsAre(2U, 1U, 1U, 1U, 1U, 1U))
        << "the flow table knows it, too";
    rps_set_online(*core_, 2, true);
    receive(flow);
    EXPECT_EQ(expect_all_in_order()[flow].back(), 2U);
    rps_set_online(*core_, 1, false);
    rps_set_online(*core_, 2, false);
    receive(flow);
    EXPECT_EQ(expect_all_in_order()[flow].back(), 0U) << "nobody left: it stays";
}

TEST_F(rps_test, AFlowGoesWhereItIsConsumed)
{
    rx_queue &q = open({.rps_cpus = {1}, .rps_flow_cnt = 100});
    set_rps_sock_flow_entries(*core_, 1000);
    EXPECT_EQ(rps_sock_flow_entries(*core_), 1024U);
    receive(7, 3);
    expect_all();
    rps_record_sock_flow(*core_, hash_of(7), 2);
    receive(7, 3);
    expect_all();
    rps_record_sock_flow(*core_, hash_of(7), 0);
    receive(7, 3);
    EXPECT_EQ(expect_all_in_order()[7], (std::vector<unsigned>{1, 1, 1, 2, 2, 2, 0, 0, 0}));
    EXPECT_EQ(rps_counters_of(q).moved, 2U);
    rps_record_sock_flow(*core_, hash_of(7), CPUS); // there is no such CPU
    rps_record_sock_flow(*core_, 0, 1);             // hash 0 is no flow
    receive(7);
    EXPECT_EQ(expect_all_in_order()[7].back(), 0U);
    set_rps_sock_flow_entries(*core_, 0);
    receive(7);
    EXPECT_EQ(expect_all_in_order()[7].back(), 1U) << "by the map again";
}

TEST_F(rps_test, WithoutTheGlobalTableOrTheQueuesOwnTheMapDecides)
{
    rx_queue &q = open({.rps_cpus = {1}});
    set_rps_sock_flow_entries(*core_, 1024);
    rps_record_sock_flow(*core_, hash_of(7), 2);
    receive(7);
    EXPECT_EQ(expect_all_in_order()[7].back(), 1U);
    rps_configure(q, {.rps_cpus = {}, .rps_flow_cnt = 64});
    receive(7);
    EXPECT_EQ(expect_all_in_order()[7].back(), 2U);
    set_rps_sock_flow_entries(*core_, 0);
    receive(7);
    EXPECT_EQ(expect_all_in_order()[7].back(), 0U) << "no map either: it stays";
}

TEST_F(rps_test, AFlowMovesOnlyWhenItHasNothingInFlight)
{
    rx_queue &q = open({.rps_cpus = {1}, .rps_flow_cnt = 64});
    set_rps_sock_flow_entries(*core_, 1024);
    hold(1, 7);
    rps_record_sock_flow(*core_, hash_of(7), 2);
    receive(7, 40);
    expect_steered(q, 41);
    EXPECT_EQ(rps_counters_of(q).moved, 0U);
    EXPECT_EQ(rps_counters_of(q).put_off, 40U);
    closed_[1] = false;
    EXPECT_THAT(expect_all_in_order()[7], testing::Each(1U));
    receive(7, 2);
    EXPECT_EQ(expect_all_in_order()[7].back(), 2U);
    EXPECT_EQ(rps_counters_of(q).moved, 1U);
}

/// The kernel then steers the flow by the map, past its own packets in flight.
TEST_F(rps_test, AnOverwrittenEntryDoesNotLetAFlowOvertakeItself)
{
    rx_queue &q = open({.rps_cpus = {1}, .rps_flow_cnt = 1024});
    set_rps_sock_flow_entries(*core_, 16);
    const std::uint32_t h = hash_of(7);
    const std::uint32_t other =
        find_flow([&](std::uint32_t o) { return o != h && (o & 15) == (h & 15) && (o ^ h) >> 2; }, 8);
    rps_record_sock_flow(*core_, h, 2);
    hold(2, 7);
    rps_record_sock_flow(*core_, hash_of(other), 0);
    receive(7, 30);
    expect_steered(q, 31);
    EXPECT_EQ(rps_counters_of(q).put_off, 30U);
    closed_[2] = false;
    EXPECT_THAT(expect_all_in_order()[7], testing::Each(2U));
    receive(7);
    EXPECT_EQ(expect_all_in_order()[7].back(), 1U) << "by the map";
}

TEST_F(rps_test, FlowsThatShareAnEntryKeepTheirOrder)
{
    open({.rps_cpus = {1}, .rps_flow_cnt = 1});
    set_rps_sock_flow_entries(*core_, 1024);
    rps_record_sock_flow(*core_, hash_of(1), 1);
    rps_record_sock_flow(*core_, hash_of(2), 2);
    for (unsigned i = 0; i < 200; ++i) {
        receive(1 + i % 2);
    }
    expect_all_in_order();
}

TEST_F(rps_test, MoreThanItsShareOfABacklog)
{
    rx_queue &q = open({.rps_cpus = {1}});
    core_->set_netdev_max_backlog(400);
    set_flow_limit(*core_, {.flow_limit_cpu_bitmap = {0}, .flow_limit_table_len = 4096});
    const std::uint32_t bucket = hash_of(1) & 4095;
    const std::uint32_t mouse = find_flow([&](std::uint32_t h) { return (h & 4095) != bucket; }, 2);
    hold(1, 1);
    receive(1, 199);
    expect_steered(q, 200);
    EXPECT_EQ(core_->drops(DROP_CPU_BACKLOG), 0U) << "up to half of the limit there is none";
    receive(1, 100);
    receive(mouse, 10);
    expect_steered(q, 310);
    const std::uint64_t dropped = core_->drops(DROP_CPU_BACKLOG);
    EXPECT_EQ(dropped, 100U - 64U);
    EXPECT_EQ(rt_->cpu(0).stats.flow_limit_count, dropped);
    closed_[1] = false;
    received_ -= dropped;
    expect_all();
    const std::lock_guard lock(mutex_);
    EXPECT_EQ(std::ranges::count(got_, mouse, &delivery::flow), 10) << "the others' packets pass";
}

/// Received packets are forwarded to a device with several tx queues, one of which can be stopped.
class rps_forward_test : public rps_test
{
protected:
    enum queue_state { OPEN, FULL_ONCE, STOPPED };

    void TearDown() override
    {
        state_ = OPEN;
        core_.reset(); // the device calls takes()
        rps_test::TearDown();
    }
    /// Adds `out`, polled by CPU `poller`, and then "in", whose packets it sends.
    rx_queue &open_both(unsigned tx_queues, unsigned poller, const rps_config &rps)
    {
        out_wire_->tx_queues = tx_queues;
        out_wire_->takes = [this](std::uint16_t queue) { return takes(queue); };
        net_device_options options;
        options.name = "out";
        options.cpus = {poller};
        core_->set_rx_handler(forward, this);
        out_ = &core_->register_netdevice(std::make_unique<fake_port>(out_wire_), options);
        set_rps_sock_flow_entries(*core_, 1024);
        return open(rps);
    }
    static void forward(void *ctx, net_cpu &cpu, net_device &, rte_mbuf **pkts, unsigned n) noexcept
    {
        auto &self = *static_cast<rps_forward_test *>(ctx);
        for (unsigned i = 0; i < n; ++i) {
            std::memcpy(rte_pktmbuf_mtod(pkts[i], void *), rte_pktmbuf_mtod_offset(pkts[i], void *, NUMBER_AT), 4);
        }
        self.forwarded_[cpu.id] += n;
        if (self.on_forward_) {
            self.on_forward_();
        }
        dev_queue_xmit(cpu, *self.out_, pkts, n);
    }
    bool takes(std::uint16_t queue)
    {
        if (queue != watched_) {
            return true;
        }
        if (state_ == FULL_ONCE) {
            state_ = STOPPED;
            return false;
        }
        while (state_ == STOPPED) {
            stopped_ = true;
            std::this_thread::yield();
        }
        return true;
    }
    /// The next packet for the tx queue that CPU `owner` owns finds it in `state`. STOPPED: the CPU stays in the
    /// driver.
    void stop(unsigned owner, queue_state state)
    {
        ASSERT_EQ(out_->tx[owner].owner, owner);
        watched_ = out_->tx[owner].queue;
        state_ = state;
    }
    void expect_stopped()
    {
        ASSERT_TRUE(eventually([&] { return stopped_.load(); }));
    }
    void expect_sent_in_order(unsigned n)
    {
        ASSERT_TRUE(eventually([&] { return out_wire_->sent_count() == n; })) << out_wire_->sent_count();
        for (unsigned i = 0; i < n; ++i) {
            EXPECT_EQ(out_wire_->sent[i], i);
        }
    }

    std::shared_ptr<fake_wire> out_wire_ = std::make_shared<fake_wire>();
    net_device *out_ = nullptr;
    std::array<std::atomic<unsigned>, CPUS> forwarded_{};
    std::function<void()> on_forward_;
    std::atomic<int> watched_{-1};
    std::atomic<queue_state> state_{OPEN};
    std::atomic<bool> stopped_{false};
};

/// The packet is delivered, but kept by CPU 1, which is stopped as it offers the packet again.
TEST_F(rps_forward_test, AFlowDoesNotOvertakePacketsThatAFullRingLeftBehind)
{
    rx_queue &q = open_both(CPUS, 0, {.rps_cpus = {1}, .rps_flow_cnt = 64});
    stop(1, FULL_ONCE);
    receive(7);
    expect_stopped();
    ASSERT_TRUE(backlogs_empty());
    rps_record_sock_flow(*core_, hash_of(7), 2);
    receive(7);
    expect_steered(q, 2);
    EXPECT_EQ(rps_counters_of(q).put_off, 1U);
    state_ = OPEN;
    expect_sent_in_order(2);
    ASSERT_TRUE(eventually([&] {
        receive(7);
        return forwarded_[2] != 0;
    })) << "it moves, in the end";
}

TEST_F(rps_forward_test, AChangeOfTheMapWaitsForPacketsThatAFullRingLeftBehind)
{
    rx_queue &q = open_both(CPUS, 0, {.rps_cpus = {1}});
    stop(1, FULL_ONCE);
    receive(7);
    expect_stopped();
    ASSERT_TRUE(backlogs_empty());
    rps_configure(q, {.rps_cpus = {2}});
    EXPECT_FALSE(rps_settled(q));
    ASSERT_TRUE(eventually([&] {
        receive(7);
        return rps_counters_of(q).pauses != 0;
    }));
    EXPECT_EQ(forwarded_[2], 0U);
    state_ = OPEN;
    EXPECT_TRUE(eventually([&] { return rps_settled(q); }));
    expect_sent_in_order(static_cast<unsigned>(received_));
}

/// CPU 2 hands the packet over to CPU 1, which has taken it from the ring and is stopped in the driver. The flow moves
/// to CPU 0, which has a tx queue of its own.
TEST_F(rps_forward_test, AFlowDoesNotOvertakePacketsThatAnotherCpuIsSending)
{
    rx_queue &q = open_both(2, 1, {.rps_cpus = {2}, .rps_flow_cnt = 64});
    ASSERT_EQ(out_->tx[2].owner, 1U);
    stop(1, STOPPED);
    receive(7);
    expect_stopped();
    ASSERT_TRUE(eventually([&] { return backlogs_empty(); }));
    rps_record_sock_flow(*core_, hash_of(7), 0);
    receive(7);
    expect_steered(q, 2);
    EXPECT_EQ(rps_counters_of(q).put_off, 1U);
    rps_configure(q, {.rps_cpus = {0}});
    EXPECT_FALSE(rps_settled(q));
    state_ = OPEN;
    expect_sent_in_order(2);
    EXPECT_TRUE(eventually([&] { return rps_settled(q); }));
}

/// At the end of a poll the backlog of another CPU is published before the packets that this CPU has sent are flushed.
TEST_F(rps_forward_test, AFlowDoesNotLeaveThisCpuWithinAPollThatHasSentPackets)
{
    rx_queue &q = open_both(CPUS, 0, {.rps_flow_cnt = 64});
    net_core &core = *core_; // packets may still come while TearDown() resets the pointer
    on_forward_ = [&] {      // the first packet stays in the handler until the others are there
        while (forwarded_[0] == 1 && received_ < 1 + NET_BURST + 10) {
            std::this_thread::yield();
        }
        if (forwarded_[0] > 1) {
            rps_record_sock_flow(core, hash_of(7), 1);
        }
    };
    receive(8);
    ASSERT_TRUE(eventually([&] { return forwarded_[0] == 1; }));
    receive(7, NET_BURST + 10);
    expect_steered(q, received_);
    EXPECT_EQ(rps_counters_of(q).put_off, 10U);
    EXPECT_EQ(forwarded_[1], 0U);
    receive(7);
    EXPECT_TRUE(eventually([&] { return forwarded_[1] == 1; })) << "it moves in the next poll";
}

/// A full ring must not leave all new flows to the CPU that receives them.
TEST_F(rps_forward_test, ANewFlowNeedNotWait)
{
    rx_queue &q = open_both(CPUS, 0, {.rps_cpus = {1}, .rps_flow_cnt = 64});
    stop(1, FULL_ONCE);
    receive(7);
    expect_stopped();
    const std::uint32_t other = find_flow([&](std::uint32_t h) { return (h & 63) != (hash_of(7) & 63); });
    rps_record_sock_flow(*core_, hash_of(other), 2);
    receive(other);
    expect_steered(q, 2);
    EXPECT_EQ(rps_counters_of(q).put_off, 0U);
    EXPECT_TRUE(eventually([&] { return forwarded_[2] == 1; }));
}

TEST(sd_flow_limit, HalfOfTheLastOnes)
{
    sd_flow_limit limit(16);
    for (unsigned i = 0; i < 64; ++i) {
        EXPECT_FALSE(limit.exceeds(5));
    }
    EXPECT_TRUE(limit.exceeds(5));
    EXPECT_TRUE(limit.exceeds(5 + 16)) << "the same bucket";
    for (unsigned i = 0; i < 126; ++i) {
        limit.exceeds(i % 4); // other flows push it out of the history
    }
    EXPECT_FALSE(limit.exceeds(5));
}

TEST_F(rps_test, WhatIsRefused)
{
    rx_queue &q = open({.rps_cpus = {1}, .rps_flow_cnt = 8});
    EXPECT_THAT(refusal([&] {
                    rps_configure(q, {.rps_cpus = {0, 3}});
                }),
                HasSubstr("in-0: rps_cpus: found CPU 3, expected"));
    EXPECT_THAT(refusal([&] { rps_configure(q, {.rps_cpus = {1, 0}}); }), HasSubstr("ascending"));
    EXPECT_THAT(refusal([&] { rps_configure(q, {.rps_cpus = {}, .rps_flow_cnt = RPS_FLOW_CNT_MAX + 1}); }),
                HasSubstr("expected 0 to 1048576"));
    EXPECT_THAT(refusal([&] { set_rps_sock_flow_entries(*core_, RPS_SOCK_FLOW_ENTRIES_MAX + 1); }),
                HasSubstr("rps_sock_flow_entries: found 16777217, expected 0 to 16777216"));
    EXPECT_THAT(refusal([&] { set_flow_limit(*core_, {.flow_limit_cpu_bitmap = {}, .flow_limit_table_len = 100}); }),
                HasSubstr("power of two"));
    EXPECT_THAT(refusal([&] { set_flow_limit(*core_, {.flow_limit_cpu_bitmap = {9}}); }), HasSubstr("CPU 9"));
    EXPECT_EQ(q.rps_settings, (rps_config{.rps_cpus = {1}, .rps_flow_cnt = 8}));
    EXPECT_EQ(flow_limit(*core_), flow_limit_config{});
    EXPECT_EQ(rps_sock_flow_entries(*core_), 0U);
    net_device_options options;
    options.name = "other";
    options.rps = {.rps_cpus = {7}};
    EXPECT_THAT(refusal([&] {
                    core_->register_netdevice(std::make_unique<fake_port>(std::make_shared<fake_wire>()), options);
                }),
                HasSubstr("other: rps_cpus"));
}

/// A NIC with two queues that accepts flow rules.
class ntuple_port final : public port
{
public:
    using rules = std::map<int, std::pair<flow_tuple, std::uint16_t>>;

    /// `keep`: while not 0, rules are not removed; counts down.
    ntuple_port(std::array<std::shared_ptr<fake_wire>, 2> wires, rules &made, std::atomic<int> &refuse,
                std::atomic<int> &keep)
        : queues_{fake_port(wires[0]), fake_port(wires[1])}, made_(made), refuse_(refuse), keep_(keep)
    {
    }
    port_info info() const override
    {
        port_info i = queues_[0].info();
        i.max_rx_queues = 2;
        return i;
    }
    void open(const port_options &options) override { queues_[0].open(options); }
    void close() noexcept override { queues_[0].close(); }
    link_state link() override { return queues_[0].link(); }
    void set_mtu(std::uint32_t) override {}
    void set_promiscuous(bool) override {}
    port_counters counters() const override { return {}; }
    void set_event_handler(std::function<void(port_event)>) override {}
    rx_wait wait_of(std::uint16_t queue) override { return queues_[queue].wait_of(0); }
    bool has_ntuple() const override { return true; }
    int rx_flow_steer(const flow_tuple &flow, std::uint16_t queue) override
    {
        if (refuse_ != 0) {
            return -refuse_;
        }
        made_[++last_] = {flow, queue};
        return last_;
    }
    bool rx_flow_expire(int filter) noexcept override
    {
        if (keep_ != 0) {
            --keep_;
            return false;
        }
        return made_.erase(filter) == 1;
    }
    std::uint16_t rx_burst(std::uint16_t queue, rte_mbuf **pkts, std::uint16_t n) noexcept override
    {
        return queues_[queue].rx_burst(0, pkts, n);
    }
    bool rx_pending(std::uint16_t queue) const noexcept override { return queues_[queue].rx_pending(0); }
    int rx_irq_enable(std::uint16_t queue) noexcept override { return queues_[queue].rx_irq_enable(0); }
    int rx_irq_disable(std::uint16_t queue) noexcept override { return queues_[queue].rx_irq_disable(0); }
    std::uint16_t tx_burst(std::uint16_t, rte_mbuf **, std::uint16_t) noexcept override { return 0; }

private:
    std::array<fake_port, 2> queues_;
    rules &made_;
    std::atomic<int> &refuse_, &keep_;
    int last_ = 0;
};

class arfs_test : public rps_test
{
protected:
    /// Adds the device; CPU 0 polls queue 0, CPU 1 polls queue 1.
    net_device &open_two(bool ntuple = true)
    {
        net_device_options options;
        options.name = "nic";
        options.rx_queues = 2;
        options.cpus = {0, 1};
        options.rps = {.rps_cpus = {0}, .rps_flow_cnt = 8};
        options.ntuple = ntuple;
        set_rps_sock_flow_entries(*core_, 1024);
        return core_->register_netdevice(
            std::make_unique<ntuple_port>(std::array{wire_, std::make_shared<fake_wire>()}, rules_, refuse_, keep_),
            options);
    }
    void TearDown() override
    {
        core_.reset(); // the rules belong to its devices
        rps_test::TearDown();
    }
    /// Runs the control loop until `done` returns true.
    template <typename F>
    bool control_until(F done)
    {
        return eventually([&] {
            core_->run_control();
            return done();
        });
    }
    /// Moves the consumer of flow 7 to `cpu` and sends a packet.
    void move(unsigned cpu)
    {
        rps_record_sock_flow(*core_, hash_of(7), cpu);
        receive(7);
        expect_all();
    }

    ntuple_port::rules rules_;
    std::atomic<int> refuse_{0}, keep_{0};
};

TEST_F(arfs_test, AFlowThatMovesIsBroughtToTheQueueOfItsCpu)
{
    net_device &dev = open_two();
    rx_queue &to = *dev.queues[1];
    receive(7);
    expect_all();
    move(1);
    ASSERT_TRUE(control_until([&] { return rules_.size() == 1; }));
    const auto &[flow, queue] = rules_.begin()->second;
    EXPECT_EQ(queue, 1U);
    EXPECT_FALSE(flow.ip6);
    EXPECT_EQ(flow.protocol, 17);
    EXPECT_THAT(std::vector(flow.src.begin(), flow.src.begin() + 4), testing::ElementsAre(0, 0, 0, 7));
    EXPECT_EQ(rps_counters_of(to).filters, 1U);
    // Makes the last packet of the flow older than ten times the table's length.
    rt_->call_on(1, [&](softnet_data &) {
        rps_dev_flow &entry = to.rps->now.flows[hash_of(7) & to.rps->now.flow_mask()];
        entry.cpu = 1;
        entry.last_qtail = backlog_head(core_->cpu(1), 1) - 10 * 8;
    });
    EXPECT_TRUE(control_until([&] { return rules_.empty(); }));
    EXPECT_EQ(rps_counters_of(to).filters, 0U);
}

TEST_F(arfs_test, ARuleThatTheDeviceKeepsIsNotForgotten)
{
    net_device &dev = open_two();
    move(1);
    ASSERT_TRUE(control_until([&] { return rules_.size() == 1; }));
    keep_ = 1000;
    move(0);
    move(1);
    ASSERT_TRUE(control_until([&] { return rps_counters_of(*dev.queues[0]).refused == 1; }));
    EXPECT_EQ(rules_.size(), 1U) << "one flow, one rule";
    EXPECT_EQ(rps_counters_of(*dev.queues[1]).filters, 1U);
    keep_ = 2; // queue 1 has seen no packet of the flow, so that the rule expires
    EXPECT_TRUE(control_until([&] { return rules_.empty(); }));
    EXPECT_EQ(keep_, 0);
    EXPECT_EQ(rps_counters_of(*dev.queues[1]).filters, 0U);
}

TEST_F(arfs_test, AUsedRuleStays)
{
    net_device &dev = open_two();
    rx_queue &to = *dev.queues[1];
    move(1);
    ASSERT_TRUE(control_until([&] { return rules_.size() == 1; }));
    rt_->call_on(1, [&](softnet_data &) {
        rps_dev_flow &entry = to.rps->now.flows[hash_of(7) & to.rps->now.flow_mask()];
        entry.cpu = 1;
        entry.last_qtail = backlog_head(core_->cpu(1), 1);
    });
    const ktime_t past_its_grace = ktime_get() + 700 * NSEC_PER_MSEC;
    ASSERT_TRUE(control_until([&] { return ktime_get() > past_its_grace; }));
    EXPECT_EQ(rules_.size(), 1U);
    core_->unregister_netdevice(dev);
    core_->run_control();
}

TEST_F(arfs_test, WhatTheDeviceRefusesGoesByRfs)
{
    net_device &dev = open_two();
    refuse_ = ENOSPC;
    move(1);
    EXPECT_TRUE(control_until([&] { return rps_counters_of(*dev.queues[0]).refused == 1; }));
    receive(7);
    EXPECT_EQ(expect_all_in_order()[7].back(), 1U);
}

TEST_F(arfs_test, NoRulesWhereTheyAreNotWantedOrHelpNothing)
{
    net_device &dev = open_two(false);
    EXPECT_EQ(dev.arfs, nullptr);
    move(1);
    core_->unregister_netdevice(dev);
    net_device &other = open_two();
    rps_record_sock_flow(*core_, hash_of(7), 2); // it polls no queue
    receive(7);
    expect_all();
    const ktime_t later = ktime_get() + 250 * NSEC_PER_MSEC;
    ASSERT_TRUE(control_until([&] { return ktime_get() > later; }));
    EXPECT_TRUE(rules_.empty());
    EXPECT_EQ(rps_counters_of(*other.queues[0]).refused, 0U);
}

/// The counters of the path to a CPU wrap around, and a flow may have been idle for very long.
TEST_F(rps_test, AnOldTailIsNotInFlight)
{
    open({.rps_cpus = {1}});
    receive(1, 10);
    expect_all();
    rt_->call_on(0, [&](softnet_data &) {
        const net_cpu &cpu = core_->cpu(0);
        const std::uint32_t tail = backlog_tail(cpu, 1);
        EXPECT_EQ(tail, 10U);
        for (const std::uint32_t last : {tail, tail - 1, tail + 1, tail - 0x80000000U, tail + 0x7FFFFFFFU}) {
            EXPECT_FALSE(rps_in_flight(cpu, 1, last)) << last;
        }
        EXPECT_TRUE(rps_in_flight(cpu, 1, tail + 1, 1)) << "not yet on the ring";
    });
}

} // namespace
