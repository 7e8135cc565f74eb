// SPDX-License-Identifier: BSD-3-Clause
// Influence of the ingress interface on a packet: VLAN tags, reverse path, forwarding off, redirects.
#include "forward_rig.hpp"

using namespace halfpoll;
using namespace halfpoll::test;

namespace
{

constexpr unsigned TYPE_IP4 = 0x0800, TYPE_IP6 = 0x86DD;
constexpr std::uint32_t OIF_IN = 101, OIF_VLAN = 102, OIF_QINQ = 103, OIF_OUT = 104;
const bytes TAG5{0x81, 0x00, 0xA0, 5};                        // VLAN 5, priority 5
const bytes TAGS97{0x88, 0xA8, 0x20, 9, 0x81, 0x00, 0xE0, 7}; // VLANs 9 and 7, priorities 1 and 7
const bytes PRIORITY{0x81, 0x00, 0x60, 0};

class forward_interface_test : public forward_rig
{
protected:
    void start_router()
    {
        start(true);
        adjacency out = via(*out1_, 14, TYPE_IP4, 1500, 1);
        out.oif = OIF_OUT;
        route4({10, 1, 0, 0}, 16, out);
        adjacency back = via(*in_, 14, TYPE_IP4, 1500, 2);
        back.oif = OIF_IN;
        route4({10, 2, 0, 0}, 16, back);
        adjacency tagged = via(*in_, 18, TYPE_IP4, 1500, 5);
        tagged.oif = OIF_VLAN;
        route4({10, 3, 0, 0}, 16, tagged);
        route4({10, 4, 0, 0}, 16, punt_as(PUNT_LOCAL));
        route4({10, 5, 0, 0}, 16, drop_as(DROP_BLACKHOLE));
        adjacency unresolved = punt_as(PUNT_RESOLVE);
        unresolved.oif = OIF_IN;
        route4({10, 6, 0, 0}, 16, unresolved);
        out = via(*out1_, 14, TYPE_IP6, 1500, 1);
        out.oif = OIF_OUT;
        route6({0x20, 0x01, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 64, out);
        interface(rx_interface{});
    }
    /// Sets the port's interfaces: `untagged` with the port's numbers, VLAN 5, and VLAN 9.7.
    void interface(rx_interface untagged)
    {
        untagged.oif = OIF_IN;
        untagged.mac = 0;
        std::memcpy(&untagged.mac, in_->mac.addr_bytes, 6);
        rx_interface vlan = untagged, qinq = untagged;
        vlan.oif = OIF_VLAN;
        vlan.vid[0] = 5;
        vlan.tpid[0] = 0x8100;
        qinq.oif = OIF_QINQ;
        qinq.vid[0] = 9;
        qinq.tpid[0] = 0x88A8;
        qinq.vid[1] = 7;
        qinq.tpid[1] = 0x8100;
        fwd_->interfaces().set(in_->ifindex, {qinq, untagged, vlan});
    }
    bytes link(const bytes &tags, unsigned type) const
    {
        bytes f(in_->mac.addr_bytes, in_->mac.addr_bytes + 6);
        f.insert(f.end(), {0x02, 0xAA, 0, 0, 0, 1});
        f.insert(f.end(), tags.begin(), tags.end());
        f.insert(f.end(), {static_cast<std::uint8_t>(type >> 8), static_cast<std::uint8_t>(type)});
        return f;
    }
    bytes ip4(const bytes &dst, const bytes &src = {10, 1, 9, 9}, const bytes &tags = {}, std::uint8_t ttl = 64) const
    {
        bytes ip{0x45, 0, 0, 46, 0, 1, 0, 0, ttl, 17, 0, 0};
        ip.insert(ip.end(), src.begin(), src.end());
        ip.insert(ip.end(), dst.begin(), dst.end());
        set16(ip, 10, internet_checksum(ip, 0, 20));
        ip.resize(46, 0x5A);
        bytes f = link(tags, TYPE_IP4);
        f.insert(f.end(), ip.begin(), ip.end());
        return f;
    }
    bytes ip6(const bytes &tags = {}) const
    {
        bytes f = link(tags, TYPE_IP6);
        bytes ip{0x60, 0, 0, 0, 0, 20, 17, 64, 0x20, 0x01, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
        ip.insert(ip.end(), {0x20, 0x01, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1});
        ip.resize(60, 0x5A);
        f.insert(f.end(), ip.begin(), ip.end());
        return f;
    }
    /// Expects that the frame leaves by `dev` after one hop, with a link header of `header` bytes.
    void expect_sent(const bytes &f, const net_device &dev, std::size_t header = 14,
                     const std::vector<std::size_t> &cuts = {})
    {
        const outcome seen = receive_one(f, cuts);
        ASSERT_EQ(seen.sent.size(), 1U) << testing::PrintToString(seen);
        EXPECT_EQ(seen.sent[0].first, &dev);
        const bytes &out = seen.sent[0].second;
        EXPECT_EQ(out.size() - header, get16(f, 12) == TYPE_IP4 || get16(f, 12) == TYPE_IP6 ? f.size() - 14 : inner(f));
        EXPECT_EQ(out[header] == 0x60 ? out[header + 7] : out[header + 8], 63);
    }
    static std::size_t inner(const bytes &f) { return f.size() - (get16(f, 12) == 0x88A8 ? 22 : 18); }
    void expect_dropped(const bytes &f, unsigned reason, const std::vector<std::size_t> &cuts = {})
    {
        outcome wanted;
        wanted.drops[reason] = 1;
        EXPECT_EQ(receive_one(f, cuts), wanted) << drop_reason_name(reason);
    }
    /// Expects that the kernel gets the frame unchanged.
    void expect_punted(const bytes &f, punt_class c, const std::vector<std::size_t> &cuts = {})
    {
        outcome wanted;
        wanted.punted[c] = 1;
        EXPECT_EQ(receive_one(f, cuts), wanted) << to_string(c);
        EXPECT_EQ(listener_->take(1), std::vector<bytes>{f});
    }
};

TEST_F(forward_interface_test, tagged_packets_are_forwarded_without_their_tags)
{
    start_router();
    for (const bytes &tags : {TAG5, TAGS97, PRIORITY}) {
        expect_sent(ip4({10, 1, 0, 1}, {10, 1, 9, 9}, tags), *out1_);
        expect_sent(ip4({10, 1, 0, 1}, {10, 1, 9, 9}, tags), *out1_, 14, {13, 15, 17, 30});
        expect_sent(ip6(tags), *out1_);
    }
}

TEST_F(forward_interface_test, from_tag_to_tag)
{
    start_router();
    expect_sent(ip4({10, 3, 0, 1}), *in_, 18);
    expect_sent(ip4({10, 3, 0, 1}, {10, 1, 9, 9}, TAGS97), *in_, 18);
}

TEST_F(forward_interface_test, bytes_behind_a_tagged_packet_stay_behind)
{
    start_router();
    const bytes from{10, 1, 9, 9}, out1{10, 1, 0, 1}, tagged{10, 3, 0, 1};
    for (const bytes &f : {ip4(out1), ip4(out1, from, TAG5), ip4(out1, from, TAGS97), ip6(), ip6(TAG5), ip6(TAGS97),
                           ip4(tagged), ip4(tagged, from, TAGS97)}) {
        bytes longer = f;
        longer.insert(longer.end(), 100, 0xEE);
        const outcome whole = receive_one(f);
        ASSERT_EQ(whole.sent.size(), 1U) << testing::PrintToString(whole);
        EXPECT_EQ(receive_one(longer).sent, whole.sent);
        EXPECT_EQ(receive_one(longer, {30, 70, 90, 120}).sent, whole.sent);
    }
}

TEST_F(forward_interface_test, tags_that_no_interface_has)
{
    start_router();
    for (const bytes &tags : std::vector<bytes>{{0x81, 0, 0, 6},
                                                {0x88, 0xA8, 0, 5},
                                                {0x88, 0xA8, 0, 9, 0x81, 0, 0, 8},
                                                {0x81, 0, 0, 9, 0x81, 0, 0, 7},
                                                {0x81, 0, 0, 0, 0x81, 0, 0, 5},
                                                {0x88, 0xA8, 0, 9, 0x81, 0, 0, 7, 0x81, 0, 0, 5},
                                                {0x81, 0, 0, 5, 0x81, 0, 0, 5}}) {
        expect_dropped(ip4({10, 1, 0, 1}, {10, 1, 9, 9}, tags), DROP_VLAN);
    }
    bytes cut = ip4({10, 1, 0, 1}, {10, 1, 9, 9}, TAG5);
    cut.resize(17);
    expect_dropped(cut, DROP_FRAME_SHORT);
}

TEST_F(forward_interface_test, the_kernel_gets_the_tags_back)
{
    start_router();
    for (const bytes &tags : {TAG5, TAGS97}) {
        expect_punted(ip4({10, 4, 0, 1}, {10, 1, 9, 9}, tags), PUNT_LOCAL);
        expect_punted(ip4({10, 1, 0, 1}, {10, 1, 9, 9}, tags, 1), PUNT_TTL, {13, 15, 30});
        bytes arp = link(tags, 0x0806);
        arp.resize(arp.size() + 28, 0x11);
        std::fill_n(arp.begin(), 6, std::uint8_t{0xFF});
        expect_punted(arp, PUNT_ARP_ND);
    }
}

TEST_F(forward_interface_test, a_burst_of_many_tags)
{
    start_router();
    burst b;
    for (unsigned i = 0; i < 32; i++) {
        const bytes tags[] = {{}, TAG5, TAGS97, {0x81, 0, 0, 6}};
        b.push_back(packet_of(ip4({10, 1, 0, static_cast<std::uint8_t>(i)}, {10, 1, 9, 9}, tags[i * 7 / 3 % 4])));
    }
    const outcome seen = receive({b}).front();
    EXPECT_EQ(seen.sent.size() + seen.drops[DROP_VLAN], 32U);
    EXPECT_GT(seen.drops[DROP_VLAN], 4U);
}

TEST_F(forward_interface_test, strict_reverse_path)
{
    start_router();
    interface({.rp_filter = rp_filter_mode::strict});
    expect_sent(ip4({10, 1, 0, 1}, {10, 2, 0, 9}), *out1_);
    expect_sent(ip4({10, 1, 0, 1}, {10, 6, 0, 9}), *out1_); // the route back leads over an unresolved neighbour
    for (const bytes &source : std::vector<bytes>{{10, 1, 0, 9}, {10, 4, 0, 9}, {10, 5, 0, 9}, {203, 0, 113, 1}}) {
        expect_dropped(ip4({10, 1, 0, 1}, source), DROP_REVERSE_PATH);
    }
    expect_sent(ip4({10, 1, 0, 1}, {10, 3, 0, 9}, TAG5), *out1_);
    expect_dropped(ip4({10, 1, 0, 1}, {10, 2, 0, 9}, TAG5), DROP_REVERSE_PATH);
}

TEST_F(forward_interface_test, loose_reverse_path)
{
    start_router();
    interface({.rp_filter = rp_filter_mode::loose});
    expect_sent(ip4({10, 1, 0, 1}, {10, 2, 0, 9}), *out1_);
    expect_sent(ip4({10, 1, 0, 1}, {10, 1, 0, 9}), *out1_);
    for (const bytes &source : std::vector<bytes>{{10, 4, 0, 9}, {10, 5, 0, 9}, {203, 0, 113, 1}}) {
        expect_dropped(ip4({10, 1, 0, 1}, source), DROP_REVERSE_PATH);
    }
    burst mixed;
    for (const std::uint8_t net : {1, 5, 2, 5}) {
        mixed.push_back(packet_of(ip4({10, 1, 0, 1}, {10, net, 0, 9})));
    }
    const outcome seen = receive({mixed}).front();
    EXPECT_EQ(seen.sent.size(), 2U);
    EXPECT_EQ(seen.drops[DROP_REVERSE_PATH], 2U);
}

TEST_F(forward_interface_test, forwarding_off)
{
    start_router();
    interface({.forwarding4 = false, .forwarding6 = false});
    expect_dropped(ip4({10, 1, 0, 1}), DROP_NOT_FORWARDING);
    expect_dropped(ip4({10, 1, 0, 1}, {10, 1, 9, 9}, {}, 1), DROP_NOT_FORWARDING);
    expect_dropped(ip6(), DROP_NOT_FORWARDING);
    expect_punted(ip4({10, 4, 0, 1}), PUNT_LOCAL);
}

TEST_F(forward_interface_test, an_interface_that_is_down_takes_nothing)
{
    start_router();
    interface({.up = false});
    for (const bytes &f : {ip4({10, 1, 0, 1}), ip4({10, 4, 0, 1}), ip6(), ip4({10, 1, 0, 1}, {10, 1, 9, 9}, TAG5)}) {
        expect_dropped(f, DROP_INTERFACE_DOWN);
    }
}

TEST_F(forward_interface_test, an_interface_that_is_the_kernels)
{
    start_router();
    interface({.kernel_only = true});
    bytes other = ip4({10, 1, 0, 1});
    other[5] ^= 1; // to another link address: a bridge takes such frames, too
    for (const bytes &f : {ip4({10, 1, 0, 1}), ip6(), other, ip4({10, 1, 0, 1}, {10, 1, 9, 9}, TAG5)}) {
        expect_punted(f, PUNT_KERNEL);
    }
}

// A bridge keeps the tags; a bond, a team and a VRF have VLANs of their own.
TEST_F(forward_interface_test, tagged_frames_for_what_is_on_top_of_an_interface)
{
    start_router();
    const std::vector<bytes> all{PRIORITY,
                                 TAG5,
                                 TAGS97,
                                 {0x81, 0, 0xE0, 6},
                                 {0x88, 0xA8, 0, 5},
                                 {0x88, 0xA8, 0x20, 9, 0x81, 0, 0, 8},
                                 {0x81, 0, 0, 0, 0x81, 0, 0, 5},
                                 {0x88, 0xA8, 0, 9, 0x81, 0, 0, 7, 0x81, 0, 0, 5}};
    interface({.kernel_only = true});
    for (const bytes &tags : all) {
        expect_punted(ip4({10, 1, 0, 1}, {10, 1, 9, 9}, tags), PUNT_KERNEL);
        expect_punted(ip4({10, 1, 0, 1}, {10, 1, 9, 9}, tags), PUNT_KERNEL, {13, 15, 30});
        expect_punted(ip6(tags), PUNT_KERNEL);
    }
    bytes arp = link({0x81, 0, 0, 6}, 0x0806);
    arp.resize(arp.size() + 28, 0x11);
    std::fill_n(arp.begin(), 6, std::uint8_t{0xFF});
    expect_punted(arp, PUNT_ARP_ND);
    bytes lacp = link({0x81, 0, 0, 6}, 0x8809);
    lacp.resize(60);
    std::ranges::copy(bytes{0x01, 0x80, 0xC2, 0, 0, 2}, lacp.begin());
    expect_punted(lacp, PUNT_CONTROL);
    interface({.up = false, .kernel_only = true});
    expect_dropped(ip4({10, 1, 0, 1}, {10, 1, 9, 9}, {0x81, 0, 0, 6}), DROP_VLAN);
}

TEST_F(forward_interface_test, a_bridge_on_a_vlan_gets_the_tags_inside_it)
{
    start_router();
    rx_interface untagged{.oif = OIF_IN}, vlan{.oif = OIF_VLAN, .vid = {5}, .tpid = {0x8100}, .kernel_only = true};
    std::memcpy(&untagged.mac, in_->mac.addr_bytes, 6);
    vlan.mac = untagged.mac;
    fwd_->interfaces().set(in_->ifindex, {untagged, vlan});
    expect_punted(ip4({10, 1, 0, 1}, {10, 1, 9, 9}, TAG5), PUNT_KERNEL);
    expect_punted(ip4({10, 1, 0, 1}, {10, 1, 9, 9}, {0x81, 0, 0, 5, 0x81, 0, 0x40, 6}), PUNT_KERNEL);
    expect_punted(ip4({10, 1, 0, 1}, {10, 1, 9, 9}, {0x81, 0, 0, 5, 0x81, 0, 0, 6, 0x81, 0, 0, 6}), PUNT_KERNEL);
    expect_dropped(ip4({10, 1, 0, 1}, {10, 1, 9, 9}, {0x81, 0, 0, 6}), DROP_VLAN);
    expect_dropped(ip4({10, 1, 0, 1}, {10, 1, 9, 9}, {0x81, 0, 0, 6, 0x81, 0, 0, 5}), DROP_VLAN);
    expect_sent(ip4({10, 1, 0, 1}, {10, 1, 9, 9}, PRIORITY), *out1_);
}

TEST_F(forward_interface_test, a_vlan_on_a_port_of_a_bridge_is_an_interface_of_its_own)
{
    start_router();
    rx_interface untagged{.oif = OIF_IN, .kernel_only = true}, vlan{.oif = OIF_VLAN, .vid = {5}, .tpid = {0x8100}};
    std::memcpy(&untagged.mac, in_->mac.addr_bytes, 6);
    vlan.mac = untagged.mac;
    fwd_->interfaces().set(in_->ifindex, {untagged, vlan});
    expect_sent(ip4({10, 1, 0, 1}, {10, 1, 9, 9}, TAG5), *out1_);
    expect_punted(ip4({10, 1, 0, 1}, {10, 1, 9, 9}, {0x81, 0, 0, 6}), PUNT_KERNEL);
    expect_dropped(ip4({10, 1, 0, 1}, {10, 1, 9, 9}, {0x81, 0, 0, 5, 0x81, 0, 0, 6}), DROP_VLAN);
}

TEST_F(forward_interface_test, a_promiscuous_interface_takes_frames_to_other_stations)
{
    start_router();
    const auto to_other = [](bytes f) {
        f[5] ^= 1;
        return f;
    };
    const bytes unknown{0x81, 0, 0, 6};
    for (const bytes &tags : {bytes{}, TAG5, TAGS97, PRIORITY}) {
        expect_dropped(to_other(ip4({10, 1, 0, 1}, {10, 1, 9, 9}, tags)), DROP_OTHERHOST);
        expect_dropped(to_other(ip6(tags)), DROP_OTHERHOST);
    }
    interface({.promiscuous = true});
    for (const bytes &tags : {bytes{}, TAG5, TAGS97, PRIORITY}) {
        expect_sent(ip4({10, 1, 0, 1}, {10, 1, 9, 9}, tags), *out1_);
        expect_punted(to_other(ip4({10, 1, 0, 1}, {10, 1, 9, 9}, tags)), PUNT_KERNEL);
        expect_punted(to_other(ip4({10, 1, 0, 1}, {10, 1, 9, 9}, tags)), PUNT_KERNEL, {13, 15, 30});
        expect_punted(to_other(ip6(tags)), PUNT_KERNEL);
        bytes arp = link(tags, 0x0806);
        arp.resize(arp.size() + 28, 0x11);
        expect_punted(to_other(arp), PUNT_ARP_ND);
    }
    expect_punted(ip4({10, 1, 0, 1}, {10, 1, 9, 9}, unknown), PUNT_KERNEL);
    expect_punted(to_other(ip4({10, 1, 0, 1}, {10, 1, 9, 9}, unknown)), PUNT_KERNEL);
    burst mixed;
    for (unsigned i = 0; i < 16; i++) {
        const bytes f = ip4({10, 1, 0, static_cast<std::uint8_t>(i)});
        mixed.push_back(packet_of(i % 4 == 1 ? to_other(f) : f));
    }
    const outcome seen = receive({mixed}).front();
    EXPECT_EQ(seen.sent.size(), 12U);
    EXPECT_EQ(seen.punted[PUNT_KERNEL], 4U);
}

TEST_F(forward_interface_test, of_what_goes_back_the_kernel_gets_a_sample)
{
    start_router();
    burst b;
    for (const std::uint8_t net : {2, 2, 1}) {
        b.push_back(packet_of(ip4({10, net, 0, 1})));
    }
    const outcome seen = receive({b}).front();
    EXPECT_EQ(seen.punted[PUNT_REDIRECT], 2U); // the rig polices nothing
    EXPECT_EQ(seen.sent.size(), 1U);
    EXPECT_EQ(listener_->take(2), (std::vector<bytes>{ip4({10, 2, 0, 1}), ip4({10, 2, 0, 1})}));
    expect_sent(ip4({10, 3, 0, 1}), *in_, 18); // the same port, but another interface
    expect_punted(ip4({10, 3, 0, 1}, {10, 1, 9, 9}, TAG5), PUNT_REDIRECT);
}

TEST_F(forward_interface_test, routing_protocols_have_a_class_of_their_own)
{
    start_router();
    const auto to_box = [&](std::uint8_t protocol, unsigned source_port, unsigned port) {
        bytes f = ip4({10, 4, 0, 1});
        f[23] = protocol;
        set16(f, 24, internet_checksum(f, 14, 20));
        set16(f, 34, source_port);
        set16(f, 36, port);
        return f;
    };
    for (const bytes &f : {to_box(6, 179, 40000), to_box(6, 40000, 179), to_box(17, 49152, 3784), to_box(89, 0, 0)}) {
        expect_punted(f, PUNT_ROUTING);
        bytes fragment = f;
        fragment[21] = 8;
        set16(fragment, 24, internet_checksum(fragment, 14, 20));
        expect_punted(fragment, PUNT_LOCAL);
    }
    expect_punted(to_box(6, 40000, 22), PUNT_LOCAL);
    expect_punted(to_box(17, 179, 179), PUNT_LOCAL);
    bytes ospf = to_box(89, 0, 0);
    std::ranges::copy(bytes{0x01, 0, 0x5E, 0, 0, 5}, ospf.begin());
    std::ranges::copy(bytes{224, 0, 0, 5}, ospf.begin() + 30);
    set16(ospf, 24, internet_checksum(ospf, 14, 20));
    expect_punted(ospf, PUNT_ROUTING);
    bytes isis = link({}, 100);
    std::ranges::copy(bytes{0x01, 0x80, 0xC2, 0, 0, 0x14}, isis.begin());
    isis.insert(isis.end(), {0xFE, 0xFE, 3});
    isis.resize(60);
    expect_punted(isis, PUNT_ROUTING);
}

TEST_F(forward_interface_test, counts_by_family_and_reason)
{
    start_router();
    receive_one(ip6());
    receive_one(ip4({10, 5, 0, 1}));
    receive_one(ip4({10, 4, 0, 1}));
    receive_one(link({}, 0x88B5));
    const rx_counts counts = fwd_->counts(in_->ifindex);
    EXPECT_EQ(counts.ip6, 1U);
    EXPECT_EQ(counts.other, 1U);
    EXPECT_EQ(counts.dropped[DROP_BLACKHOLE], 1U);
    EXPECT_EQ(counts.punted[PUNT_LOCAL], 1U);
    EXPECT_EQ(counts.punted[PUNT_OTHER], 1U);
}

TEST_F(forward_interface_test, punts_that_fail_have_the_same_reason_for_the_interface_as_for_all)
{
    ring_size_ = 8;
    start_router();
    const auto receive_burst = [&](const bytes &f, unsigned n) {
        burst b;
        std::generate_n(std::back_inserter(b), n, [&] { return packet_of(f); });
        receive({b});
    };
    slow_->set_limit(PUNT_OTHER, {.packets_per_second = 0, .burst = 1});
    receive_burst(link({}, 0x88B5), 3);
    receive_burst(ip4({10, 4, 0, 1}), 32);
    slow_->remove_shadow(*slow_->shadows().front(), true);
    receive_burst(ip4({10, 4, 0, 1}), 2);
    const rx_counts counts = fwd_->counts(in_->ifindex);
    for (unsigned reason = 0; reason < DROP_REASONS; ++reason) {
        EXPECT_EQ(counts.dropped[reason], core_->drops(reason)) << drop_reason_name(reason);
    }
    EXPECT_EQ(counts.dropped[DROP_PUNT_POLICED], 2U);
    EXPECT_GE(counts.dropped[DROP_PUNT_FULL], 32U - 8);
    EXPECT_EQ(counts.dropped[DROP_DEV_READY], 2U);
}

} // namespace
