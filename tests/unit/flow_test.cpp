// SPDX-License-Identifier: BSD-3-Clause
// Packets whose next hop is a group: each flow takes one member, whatever path its packets take through the forwarder.
#include "forward_rig.hpp"

#include <cmath>
#include <map>
#include <random>

using namespace halfpoll;
using namespace halfpoll::test;

namespace
{

constexpr unsigned TYPE_IP4 = 0x0800, TYPE_IP6 = 0x86DD;
constexpr std::uint8_t tcp = 6, udp = 17, icmp = 1;

struct flow {
    std::uint32_t from = 1; ///< last bytes of the source address
    std::uint16_t sport = 1000, dport = 53;
    std::uint8_t protocol = udp;
    std::uint32_t label = 0; ///< flow label of IPv6
};

class flow_test : public forward_rig
{
protected:
    flow_test()
    {
        start(false);
        fwd_->nexthops().set_multipath4({multipath_kind::l4});
        fwd_->nexthops().set_multipath6({multipath_kind::l4});
        for (const unsigned type : {TYPE_IP4, TYPE_IP6}) {
            // Two without a tag, one with a tag, and one without a tag and of double weight.
            const adjacency hops[] = {via(*out1_, 14, type, 1500, 1), via(*out2_, 14, type, 1500, 2),
                                      via(*out2_, 18, type, 1500, 3), via(*out1_, 14, type, 1500, 4)};
            nexthop_group group;
            for (const adjacency &hop : hops) {
                group.members.push_back(fwd_->nexthops().add(hop));
            }
            for (unsigned i = 0; i < 320; i++) {
                group.buckets.push_back(group.members[std::min(i % 5, 3U)]);
            }
            group.buckets.resize(256);
            const std::uint32_t index = fwd_->nexthops().add(adjacency{});
            fwd_->nexthops().replace(index, group);
            type == TYPE_IP4 ? fwd_->routes4().insert(10U << 24, 8, index)
                             : fwd_->routes6().insert({0x20, 0x01, 0x0d, 0xb8}, 32, index);
            groups_[type] = group;
        }
    }

    bytes link(unsigned type) const
    {
        bytes f(in_->mac.addr_bytes, in_->mac.addr_bytes + 6);
        f.insert(f.end(),
                 {0x02, 0xAA, 0, 0, 0, 1, static_cast<std::uint8_t>(type >> 8), static_cast<std::uint8_t>(type)});
        return f;
    }
    static void add32(bytes &f, std::uint32_t v)
    {
        for (const unsigned shift : {24, 16, 8, 0}) {
            f.push_back(static_cast<std::uint8_t>(v >> shift));
        }
    }
    static void add_ports(bytes &f, const flow &w)
    {
        add32(f, std::uint32_t{w.sport} << 16 | w.dport);
        f.resize(f.size() + 8);
    }
    /// `fragment`: the 16 bits of flags and offset. `options`: number of 32-bit words of options.
    bytes frame4(const flow &w, std::uint16_t fragment = 0, unsigned options = 0) const
    {
        bytes f = link(TYPE_IP4);
        const unsigned ihl = 5 + options, total = ihl * 4 + 12;
        f.insert(f.end(),
                 {static_cast<std::uint8_t>(0x40 | ihl), 0, 0, static_cast<std::uint8_t>(total), 0, 0,
                  static_cast<std::uint8_t>(fragment >> 8), static_cast<std::uint8_t>(fragment), 64, w.protocol, 0, 0});
        add32(f, 0xC0A80000U + w.from);
        add32(f, 0x0A010203U);
        f.resize(f.size() + options * 4U, 1); // options that are no-operations
        add_ports(f, w);
        f.resize(std::max<std::size_t>(f.size(), 60));
        set16(f, 24, internet_checksum(f, 14, ihl * 4));
        return f;
    }
    bytes frame6(const flow &w) const
    {
        bytes f = link(TYPE_IP6);
        add32(f, 6U << 28 | w.label);
        f.insert(f.end(), {0, 12, w.protocol, 64});
        bytes address{0x20, 0x01, 0x0d, 0xb8};
        address.resize(12);
        f.insert(f.end(), address.begin(), address.end());
        add32(f, w.from);
        f.insert(f.end(), address.begin(), address.end());
        add32(f, 0xFFFF);
        add_ports(f, w);
        return f;
    }

    /// The member (1 to 4) by which each frame left: the mark in its link address. The frames are sent in bursts, in
    /// order.
    std::vector<int> members(const std::vector<bytes> &frames)
    {
        std::vector<int> marks;
        for (std::size_t first = 0; first < frames.size(); first += 64) {
            burst b;
            for (std::size_t i = first; i < std::min(frames.size(), first + 64); i++) {
                b.push_back(packet_of(frames[i]));
            }
            std::vector<outcome> seen = receive({b});
            // Order is kept per device only: frames are recognized by their layer 3, which differs in source and ports.
            std::map<bytes, int> of;
            for (const auto &[dev, f] : seen[0].sent) {
                const std::size_t tag = f[12] == 0x81 ? 4 : 0;
                of[bytes(f.begin() + 14 + static_cast<long>(tag), f.end())] = f[5];
            }
            for (std::size_t i = first; i < std::min(frames.size(), first + 64); i++) {
                const auto found = of.find(sent_form(frames[i]));
                marks.push_back(found == of.end() ? 0 : found->second);
            }
        }
        return marks;
    }
    /// Layer 3 of a frame after one hop, without trailing bytes.
    static bytes sent_form(bytes f)
    {
        if (f[12] == 0x08) {
            f.resize(14U + (f[16] << 8U | f[17]));
            f[22]--;
            set16(f, 24, internet_checksum(f, 14, (f[14] & 15U) * 4));
        } else {
            f[21]--;
        }
        return bytes(f.begin() + 14, f.end());
    }
    static std::vector<double> shares(const std::vector<int> &marks)
    {
        std::vector<double> n(5);
        for (const int mark : marks) {
            n[static_cast<std::size_t>(mark)] += 1.0 / static_cast<double>(marks.size());
        }
        return n;
    }
    /// Expects the shares of the buckets, within the statistical error of a few thousand flows.
    static void expect_fair(const std::vector<int> &marks)
    {
        const std::vector<double> part = shares(marks);
        EXPECT_EQ(part[0], 0.0) << "not forwarded";
        for (const std::size_t member : {1, 2, 3, 4}) {
            EXPECT_NEAR(part[member], member == 4 ? 0.4 : 0.2, 4 * std::sqrt(0.24 / static_cast<double>(marks.size())))
                << "member " << member;
        }
    }

    std::map<unsigned, nexthop_group> groups_;
};

std::vector<flow> random_flows(unsigned n, std::uint8_t protocol)
{
    std::mt19937 random(n);
    std::vector<flow> flows(n);
    std::uint32_t number = 0;
    for (flow &w : flows) {
        w.from = 1 + number++ % 50'000;
        w.sport = static_cast<std::uint16_t>(random());
        w.protocol = protocol;
    }
    return flows;
}

TEST_F(flow_test, ipv4_flows_are_shared_by_bucket_and_stay)
{
    for (const std::uint8_t protocol : {tcp, udp}) {
        std::vector<bytes> frames;
        for (const flow &w : random_flows(4000, protocol)) {
            frames.push_back(frame4(w));
        }
        const std::vector<int> marks = members(frames);
        expect_fair(marks);
        EXPECT_EQ(members(frames), marks) << "again";
        for (unsigned i = 0; i < 100; i++) {
            EXPECT_EQ(members({frames[i]})[0], marks[i]) << "alone in its burst";
        }
    }
}

TEST_F(flow_test, one_pair_of_addresses_is_shared_by_ports)
{
    std::vector<bytes> frames;
    for (unsigned i = 0; i < 4000; i++) {
        frames.push_back(frame4({.from = 1, .sport = static_cast<std::uint16_t>(i)}));
    }
    expect_fair(members(frames));
}

TEST_F(flow_test, ports_do_not_count_by_default)
{
    fwd_->nexthops().set_multipath4({});
    std::vector<bytes> frames;
    for (unsigned i = 0; i < 64; i++) {
        frames.push_back(frame4({.from = 1, .sport = static_cast<std::uint16_t>(i)}));
    }
    const std::vector<int> marks = members(frames);
    EXPECT_EQ(std::set<int>(marks.begin(), marks.end()).size(), 1U);
}

TEST_F(flow_test, fragments_and_other_protocols_go_by_addresses)
{
    std::mt19937 random(1);
    for (const std::uint16_t fragment : {0x2000, 0x2010, 0x0010}) {
        std::vector<bytes> frames;
        for (unsigned i = 0; i < 64; i++) {
            frames.push_back(frame4({.from = 7, .sport = static_cast<std::uint16_t>(random())}, fragment));
        }
        const std::vector<int> marks = members(frames);
        EXPECT_EQ(std::set<int>(marks.begin(), marks.end()).size(), 1U);
    }
    std::vector<bytes> frames;
    for (unsigned i = 0; i < 64; i++) {
        frames.push_back(frame4({.from = 7, .sport = static_cast<std::uint16_t>(random()), .protocol = icmp}));
    }
    const std::vector<int> marks = members(frames);
    EXPECT_EQ(std::set<int>(marks.begin(), marks.end()).size(), 1U);
}

TEST_F(flow_test, ipv6_flows_by_ports_and_by_label)
{
    std::vector<bytes> frames;
    for (const flow &w : random_flows(4000, udp)) {
        frames.push_back(frame6(w));
    }
    const std::vector<int> marks = members(frames);
    expect_fair(marks);
    EXPECT_EQ(members(frames), marks) << "again";
    frames.clear();
    fwd_->nexthops().set_multipath6({});
    for (std::uint32_t label = 0; label < 4000; label++) {
        frames.push_back(frame6({.protocol = 58, .label = label * 262}));
    }
    expect_fair(members(frames));
    frames.clear();
    for (unsigned i = 0; i < 64; i++) {
        frames.push_back(frame6({.sport = static_cast<std::uint16_t>(i), .protocol = 44, .label = 5}));
    }
    const std::vector<int> fragments = members(frames);
    EXPECT_EQ(std::set<int>(fragments.begin(), fragments.end()).size(), 1U);
}

TEST_F(flow_test, a_burst_with_a_faulty_packet_takes_the_same_members)
{
    std::vector<bytes> frames;
    for (const flow &w : random_flows(63, udp)) {
        frames.push_back(frame4(w));
    }
    const std::vector<int> marks = members(frames);
    bytes faulty = frame4({.from = 60'000});
    faulty[24] ^= 1;
    frames.push_back(faulty);
    std::vector<int> again = members(frames);
    EXPECT_EQ(again.back(), 0);
    again.pop_back();
    EXPECT_EQ(again, marks);
}

TEST_F(flow_test, a_replaced_group_moves_the_flows_of_changed_buckets_only)
{
    std::vector<bytes> frames;
    for (const flow &w : random_flows(2000, tcp)) {
        frames.push_back(frame4(w));
    }
    const std::vector<int> before = members(frames);
    nexthop_group group = groups_[TYPE_IP4];
    const std::uint32_t lost = group.members[1];
    for (std::uint32_t &bucket : group.buckets) {
        bucket = bucket == lost ? group.members[0] : bucket;
    }
    std::uint32_t index = 0;
    ASSERT_TRUE(fwd_->routes4().find(10U << 24, 8, index));
    fwd_->nexthops().replace(index, group);
    const std::vector<int> after = members(frames);
    for (std::size_t i = 0; i < frames.size(); i++) {
        ASSERT_EQ(after[i], before[i] == 2 ? 1 : before[i]);
    }
}

TEST_F(flow_test, the_default_route_may_be_a_group)
{
    std::uint32_t index = 0;
    ASSERT_TRUE(fwd_->routes4().find(10U << 24, 8, index));
    fwd_->routes4().insert(0, 0, index);
    fwd_->routes4().remove(10U << 24, 8);
    std::vector<bytes> frames;
    for (const flow &w : random_flows(4000, tcp)) {
        frames.push_back(frame4(w));
    }
    expect_fair(members(frames));
}

} // namespace
