// SPDX-License-Identifier: BSD-3-Clause
#include "backlog_rig.hpp"

#include <halfpoll/rps.hpp>
#include <halfpoll/xdp.hpp>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <numeric>
#include <stop_token>
#include <thread>

namespace halfpoll::test
{
namespace
{

std::uint32_t number_of(const halfpoll_xdp_burst &b, std::uint32_t i)
{
    std::uint32_t number;
    std::memcpy(&number, xdp_data(&b, i), sizeof number);
    return number;
}

/// A program whose verdict is the low byte of a packet's number.
std::shared_ptr<xdp_program> by_number()
{
    return make_xdp_program("by_number", [](halfpoll_xdp_burst &b, std::uint32_t i) noexcept {
        return static_cast<std::uint8_t>(number_of(b, i));
    });
}

std::shared_ptr<xdp_program> always(std::uint8_t action)
{
    return make_xdp_program("always", [action](halfpoll_xdp_burst &, std::uint32_t) noexcept { return action; });
}

/// Records the data that accompanies its bursts.
class curious final : public xdp_program
{
public:
    curious() : xdp_program("curious") {}
    void run(halfpoll_xdp_burst &b) noexcept override
    {
        ingress = b.ingress_ifindex;
        egress = b.egress_ifindex;
        queue = b.rx_queue_index;
        cpu = b.cpu;
        now = b.now;
        at_first = std::accumulate(b.action, b.action + b.n, 0U);
        std::fill_n(b.action, b.n, std::uint8_t{XDP_PASS});
        packets += b.n;
    }
    std::atomic<std::uint32_t> ingress{0}, egress{1}, queue{1}, cpu{77}, at_first{1}, packets{0};
    std::atomic<std::uint64_t> now{0};
};

class xdp : public backlog_rig
{
protected:
    void run(unsigned cpus) { start(exclusive(), cpus); }
    fake_wire &wire() { return *wires.front(); }
    void receive(const std::vector<std::uint32_t> &numbers, unsigned length = 60)
    {
        for (const std::uint32_t number : numbers) {
            wire().receive(packet(pool, number, length));
        }
    }
    xdp_counters counters() { return xdp_counters_of(*eth, 0); }
    std::uint64_t judged()
    {
        const xdp_counters c = counters();
        return c.pass + c.drop + c.tx + c.redirect + c.aborted;
    }
    /// Waits until `n` packets have been judged, and until the polls that did it have ended.
    bool comes_to(std::uint64_t n)
    {
        const bool came = eventually([&] { return judged() == n; });
        for (unsigned cpu = 0; cpu < core->cpus(); ++cpu) {
            rt->call_on(cpu, [](softnet_data &) {});
        }
        return came;
    }
    std::vector<std::uint32_t> passed()
    {
        std::vector<std::uint32_t> numbers;
        for (const delivery &d : all()) {
            numbers.push_back(d.number);
        }
        return numbers;
    }
};

TEST_F(xdp, sees_to_every_verdict_and_keeps_the_order)
{
    run(1);
    xdp_attach(*core, *eth, by_number());
    std::vector<std::uint32_t> numbers, pass, tx;
    for (std::uint32_t i = 0; i < 200; ++i) {
        const std::uint32_t action = i * 7 % 6; // 5 is not a valid verdict
        numbers.push_back(i << 8 | action);
        if (action == XDP_PASS) {
            pass.push_back(numbers.back());
        } else if (action == XDP_TX) {
            tx.push_back(numbers.back());
        }
    }
    receive(numbers);
    ASSERT_TRUE(comes_to(200));
    EXPECT_EQ(passed(), pass);
    EXPECT_EQ(wire().sent, tx);
    EXPECT_EQ(counters().drop, core->drops(DROP_XDP));
    EXPECT_EQ(counters().aborted, core->drops(DROP_XDP_ABORTED));
    EXPECT_EQ(counters().redirect, core->drops(DROP_XDP_REDIRECT)) << "there is nowhere to redirect to";
    EXPECT_EQ(counters().drop, 34U);
    EXPECT_EQ(counters().aborted, 67U);
    EXPECT_EQ(counters().redirect, 33U);
}

class xdp_verdict : public xdp, public testing::WithParamInterface<unsigned>
{
};

TEST_P(xdp_verdict, is_the_same_for_bursts_of_any_length)
{
    run(1);
    xdp_attach(*core, *eth, always(static_cast<std::uint8_t>(GetParam())));
    std::uint64_t total = 0;
    for (unsigned n = 1; n <= NET_BURST + 1; ++n) {
        receive(std::vector<std::uint32_t>(n, 5));
        total += n;
        ASSERT_TRUE(comes_to(total)) << n;
    }
    const xdp_counters c = counters();
    EXPECT_EQ(c.pass, GetParam() == XDP_PASS ? total : 0);
    EXPECT_EQ(c.drop, GetParam() == XDP_DROP ? total : 0);
    EXPECT_EQ(c.tx, GetParam() == XDP_TX ? total : 0);
    EXPECT_EQ(c.redirect, GetParam() == XDP_REDIRECT ? total : 0);
    EXPECT_EQ(c.aborted, GetParam() > XDP_REDIRECT || GetParam() == XDP_ABORTED ? total : 0);
    EXPECT_EQ(count(), c.pass);
    EXPECT_EQ(wire().sent_count(), c.tx);
}

INSTANTIATE_TEST_SUITE_P(all, xdp_verdict,
                         testing::Values(XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_TX, XDP_REDIRECT, 5, 0x80, 0xff));

/// A program returns XDP_TAKEN (0xff), which is not a verdict, among valid ones.
TEST_F(xdp, frees_what_a_program_says_was_taken)
{
    run(1);
    xdp_attach(*core, *eth, by_number());
    receive({XDP_PASS, 0xff, XDP_DROP, 0xff, XDP_REDIRECT});
    ASSERT_TRUE(comes_to(5));
    EXPECT_EQ(counters().aborted, 2U);
    EXPECT_EQ(counters().redirect, 1U);
}

TEST_F(xdp, tells_a_program_where_its_packets_come_from)
{
    run(1);
    const auto program = std::make_shared<curious>();
    xdp_attach(*core, *eth, program);
    const auto before = static_cast<std::uint64_t>(rt->now());
    receive({1, 2, 3});
    ASSERT_TRUE(eventually([&] { return count() == 3; }));
    EXPECT_EQ(program->ingress, eth->ifindex);
    EXPECT_EQ(program->egress, 0U);
    EXPECT_EQ(program->queue, 0U);
    EXPECT_EQ(program->cpu, 0U);
    EXPECT_EQ(program->at_first, 0U) << "XDP_ABORTED unless the program says something";
    EXPECT_LE(before, program->now);
}

TEST_F(xdp, comes_before_steering)
{
    run(2);
    rps_configure(*eth->queues[0], {.rps_cpus = {1}});
    xdp_attach(*core, *eth, by_number());
    receive({XDP_DROP, 0x100 | XDP_PASS, 0x200 | XDP_PASS, XDP_TX});
    ASSERT_TRUE(comes_to(4));
    ASSERT_TRUE(eventually([&] { return count() == 2; }));
    EXPECT_EQ(passed(), (std::vector<std::uint32_t>{0x100 | XDP_PASS, 0x200 | XDP_PASS}));
    EXPECT_EQ(rps_counters_of(*eth->queues[0]).direct + rps_counters_of(*eth->queues[0]).steered, 2U);
    EXPECT_EQ(core->drops(DROP_XDP), 1U);
}

TEST_F(xdp, changes_lengths_and_metadata_of_segmented_packets)
{
    run(1);
    std::atomic<unsigned> wrong{0};
    xdp_attach(*core, *eth, make_xdp_program("surgeon", [&wrong](halfpoll_xdp_burst &b, std::uint32_t i) noexcept {
        const auto expect = [&wrong](bool right) { wrong += !right; };
        const std::uint32_t length = xdp_get_buff_len(&b, i);
        expect(xdp_meta_len(&b, i) == 0);
        expect(xdp_adjust_meta(&b, i, -256) == -EINVAL);
        expect(xdp_adjust_meta(&b, i, -3) == -EINVAL);
        expect(xdp_adjust_meta(&b, i, 4) == -EINVAL);
        expect(xdp_adjust_meta(&b, i, -8) == 0);
        std::memset(xdp_data_meta(&b, i), 0x5a, 8);
        expect(xdp_adjust_head(&b, i, -124) == -EINVAL);
        expect(xdp_adjust_head(&b, i, 4) == 0);
        expect(xdp_adjust_head(&b, i, -8) == 0);
        expect(xdp_meta_len(&b, i) == 8 && xdp_data_meta(&b, i)[0] == 0x5a && xdp_data(&b, i)[-1] == 0x5a);
        expect(xdp_get_buff_len(&b, i) == length + 4);
        expect(xdp_adjust_head(&b, i, 4) == 0);
        expect(xdp_adjust_tail(&b, i, 10) == 0);
        expect(xdp_adjust_tail(&b, i, -50) == 0);
        expect(xdp_adjust_tail(&b, i, -1000) == -EINVAL);
        expect(xdp_get_buff_len(&b, i) == length - 40);
        return std::uint8_t{XDP_TX};
    }));
    std::vector<unsigned> segments;
    std::vector<std::uint32_t> lengths;
    wire().on_tx = [&](rte_mbuf **pkts, unsigned n) {
        const std::lock_guard lock(mutex);
        for (unsigned i = 0; i < n; ++i) {
            segments.push_back(pkts[i]->nb_segs);
            lengths.push_back(pkts[i]->pkt_len);
            rte_mbuf_sanity_check(pkts[i], 1);
            rte_pktmbuf_free(pkts[i]);
        }
    };
    rte_mbuf *one = packet(pool, 1, 100), *two = packet(pool, 2, 60), *three = packet(pool, 3, 60);
    ASSERT_EQ(rte_pktmbuf_chain(two, packet(pool, 0, 30)), 0);
    ASSERT_EQ(rte_pktmbuf_chain(three, packet(pool, 0, 60)), 0);
    for (rte_mbuf *m : {one, two, three}) {
        wire().receive(m);
    }
    ASSERT_TRUE(eventually([&] {
        const std::lock_guard lock(mutex);
        return lengths.size() == 3;
    }));
    EXPECT_EQ(wrong, 0U);
    EXPECT_EQ(lengths, (std::vector<std::uint32_t>{60, 50, 80}));
    EXPECT_EQ(segments, (std::vector<unsigned>{1, 1, 2}));
}

TEST_F(xdp, drops_segmented_packets_whole)
{
    run(1);
    xdp_attach(*core, *eth, always(XDP_DROP));
    for (unsigned i = 0; i < 20; ++i) {
        rte_mbuf *m = packet(pool, i);
        ASSERT_EQ(rte_pktmbuf_chain(m, packet(pool, i)), 0);
        wire().receive(m);
    }
    EXPECT_TRUE(eventually([&] { return counters().drop == 20; })); // TearDown() checks the pool
}

TEST_F(xdp, attaches_and_detaches)
{
    run(1);
    EXPECT_EQ(xdp_program_of(*eth, 0), nullptr);
    EXPECT_EQ(counters().pass, 0U);
    xdp_detach(*core, *eth);
    std::shared_ptr<xdp_program> program = always(XDP_PASS);
    const std::weak_ptr<xdp_program> watched = program;
    xdp_attach(*core, *eth, program, 0);
    EXPECT_EQ(xdp_program_of(*eth, 0), program);
    program.reset();
    EXPECT_FALSE(watched.expired());
    xdp_detach(*core, *eth, 0);
    EXPECT_TRUE(watched.expired());
    EXPECT_EQ(xdp_program_of(*eth, 0), nullptr);
    receive({1});
    ASSERT_TRUE(eventually([&] { return count() == 1; }));
    EXPECT_EQ(judged(), 0U);
}

TEST_F(xdp, sees_all_packets_also_those_that_the_kernel_would_forward)
{
    run(1);
    const pass_to_kernel wanted{.ip4 = true, .tcp_of_box = true, .shadow = 7, .out = true};
    core->set_pass(*eth, wanted);
    EXPECT_FALSE(eth->passing) << "the device cannot";
    core->set_pass(*eth, {});
    wire().can_pass = true;
    core->set_pass(*eth, wanted);
    EXPECT_EQ(wire().pass, wanted);
    EXPECT_TRUE(eth->passing);
    xdp_attach(*core, *eth, always(XDP_PASS));
    EXPECT_FALSE(wire().pass.ip4 || wire().pass.tcp_of_box || wire().pass.out);
    EXPECT_FALSE(eth->passing);
    wire().refuses_live = true;
    core->set_mtu(*eth, 2000); // opens it again
    EXPECT_FALSE(wire().pass.ip4);
    xdp_detach(*core, *eth);
    EXPECT_EQ(wire().pass, wanted);
    EXPECT_TRUE(eth->passing);
    wire().pass = {};
    core->set_mtu(*eth, 1500);
    EXPECT_EQ(wire().pass, wanted) << "lost when the device was opened again";
}

TEST_F(xdp, addresses_of_the_box_are_told_to_a_device_whenever_it_is_opened)
{
    const box_address first{1}, second{2};
    run(1);
    core->set_pass_address(first, true);
    EXPECT_EQ(wire().pass_addresses, std::set{first});
    core->set_pass_address(second, true);
    core->set_pass_address(first, false);
    EXPECT_EQ(wire().pass_addresses, std::set{second});
    wire().refuses_live = true;
    core->set_mtu(*eth, 2000); // opens it again
    EXPECT_EQ(wire().pass_addresses, std::set{second});
}

TEST_F(xdp, names_a_queue_that_is_not_there)
{
    run(1);
    const auto refused = [&](int queue) -> std::string {
        try {
            xdp_attach(*core, *eth, always(XDP_PASS), queue);
        } catch (const error &e) {
            return e.what();
        }
        return "accepted";
    };
    EXPECT_EQ(refused(1), "eth0 has no rx queue 1, only 0 to 0");
    EXPECT_EQ(refused(-2), "eth0 has no rx queue -2, only 0 to 0");
    EXPECT_THROW(xdp_attach(*core, *eth, nullptr), error);
    EXPECT_EQ(xdp_program_of(*eth, 0), nullptr);
}

TEST_F(xdp, stays_when_the_device_is_opened_again)
{
    run(1);
    const std::shared_ptr<xdp_program> program = always(XDP_DROP);
    xdp_attach(*core, *eth, program);
    receive({1});
    ASSERT_TRUE(eventually([&] { return counters().drop == 1; }));
    wire().refuses_live = true;
    core->set_mtu(*eth, 2000);
    EXPECT_EQ(wire().opens, 2U);
    receive({1});
    EXPECT_TRUE(eventually([&] { return counters().drop == 2; }));
    EXPECT_EQ(xdp_program_of(*eth, 0), program);
}

TEST_F(xdp, returns_with_its_device)
{
    run(1);
    eth->options.reprobe = [this] { return std::make_unique<fake_port>(wires.front()); };
    xdp_attach(*core, *eth, always(XDP_PASS));
    core->fail_netdevice(*eth, "gone");
    xdp_attach(*core, *eth, always(XDP_DROP)); // for the time after its return
    eth->return_look_at = 0;
    core->run_control();
    ASSERT_TRUE(eth->open);
    receive({1});
    EXPECT_TRUE(eventually([&] { return counters().drop == 1; }));
}

TEST_F(xdp, follows_its_queue_to_another_cpu)
{
    run(2);
    const auto program = std::make_shared<curious>();
    xdp_attach(*core, *eth, program);
    const unsigned home = eth->queues[0]->cpu->id;
    rt->cpu_down(home);
    receive({1, 2});
    ASSERT_TRUE(eventually([&] { return count() == 2; }));
    EXPECT_EQ(program->cpu, 1 - home);
    EXPECT_EQ(counters().pass, 2U);
    rt->cpu_up(home);
}

/// A program that detects a call after its destruction, and a burst on which another program has already decided.
class mortal final : public xdp_program
{
public:
    mortal(std::uint8_t verdict, std::atomic<unsigned> &misused)
        : xdp_program("mortal"), verdict_(verdict), misused_(misused)
    {
    }
    ~mortal() override { alive_ = false; }
    void run(halfpoll_xdp_burst &b) noexcept override
    {
        for (std::uint32_t i = 0; i < b.n; ++i) {
            misused_ += !alive_ || b.action[i] != XDP_ABORTED;
            b.action[i] = verdict_;
        }
    }

private:
    bool alive_ = true;
    const std::uint8_t verdict_;
    std::atomic<unsigned> &misused_;
};

TEST_F(xdp, swaps_programs_under_load_without_loss)
{
    run(2);
    std::atomic<unsigned> misused{0};
    constexpr unsigned swaps = 100;
    constexpr std::uint8_t verdicts[] = {XDP_PASS, XDP_DROP, XDP_TX};
    xdp_attach(*core, *eth, always(XDP_PASS));
    std::uint64_t fed = 0;
    {
        const std::jthread feeder([&](const std::stop_token &stop) {
            while (!stop.stop_requested()) {
                if (fed - judged() < 1000) {
                    wire().receive(packet(pool, 0));
                    ++fed;
                }
            }
        });
        for (unsigned i = 0; i < swaps; ++i) {
            xdp_attach(*core, *eth, std::make_shared<mortal>(verdicts[i % 3], misused));
            const std::uint64_t from = judged();
            ASSERT_TRUE(eventually([&] { return judged() != from; }));
        }
    }
    EXPECT_TRUE(comes_to(fed)) << "some came by without a program";
    EXPECT_EQ(misused, 0U);
    EXPECT_EQ(wire().sent_count(), counters().tx);
    EXPECT_EQ(core->drops(DROP_XDP), counters().drop);
}

} // namespace
} // namespace halfpoll::test
