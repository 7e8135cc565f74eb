// SPDX-License-Identifier: BSD-3-Clause
// Which fields make a flow under each multipath hash policy. test_obey_sysctl.py shows that the kernel agrees.
#include "forward/packet/multipath_hash.hpp"
#include "forward/packet/wire.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

using namespace halfpoll;

namespace
{

using bytes = std::vector<std::uint8_t>;

bytes operator+(bytes a, const bytes &b)
{
    a.insert(a.end(), b.begin(), b.end());
    return a;
}
bytes be16(unsigned v) { return {static_cast<std::uint8_t>(v >> 8), static_cast<std::uint8_t>(v)}; }
bytes ports(unsigned source, unsigned destination) { return be16(source) + be16(destination) + bytes(16, 0); }

bytes ip4(const bytes &src, const bytes &dst, unsigned protocol, const bytes &payload, unsigned fragment = 0)
{
    const bytes front{0x45, 0, 0, 0, 0, 1};
    const bytes middle{64, static_cast<std::uint8_t>(protocol), 0, 0};
    return front + be16(fragment) + middle + src + dst + payload;
}
bytes ip6(unsigned src, unsigned dst, unsigned next, const bytes &payload, unsigned label = 0)
{
    const auto address = [](unsigned last) { return bytes{0x20, 1} + bytes(12, 0) + be16(last); };
    const bytes front{0x60, static_cast<std::uint8_t>(label >> 16)};
    const bytes middle{0, 0, static_cast<std::uint8_t>(next), 64};
    return front + be16(label & 0xFFFF) + middle + address(src) + address(dst) + payload;
}
bytes gre(unsigned flags, unsigned type, const bytes &payload) { return be16(flags) + be16(type) + payload; }

const bytes here{10, 0, 0, 1}, there{10, 0, 0, 2}, inner_here{172, 16, 0, 1}, inner_there{172, 16, 0, 2};
const bytes link(14, 0);
bytes inner4(std::uint8_t last, unsigned port = 5) { return ip4(inner_here, {172, 16, 0, last}, 17, ports(port, 6)); }
std::uint8_t low(unsigned i) { return static_cast<std::uint8_t>(i); }

/// Packets outside any pool, in one segment or cut into two.
class segments
{
public:
    explicit segments(const bytes &f, std::size_t cut) : data_(f)
    {
        for (std::size_t i = 0; i < 2; i++) {
            mbufs_[i].buf_addr = data_.data() + (i == 0 ? 0 : cut);
            mbufs_[i].data_len = static_cast<std::uint16_t>(i == 0 ? cut : f.size() - cut);
        }
        mbufs_[0].pkt_len = static_cast<std::uint32_t>(f.size());
        mbufs_[0].nb_segs = cut < f.size() ? 2 : 1;
        mbufs_[0].next = cut < f.size() ? &mbufs_[1] : nullptr;
    }
    const rte_mbuf *get() const { return mbufs_.get(); }

private:
    bytes data_;
    std::unique_ptr<rte_mbuf[]> mbufs_{new rte_mbuf[2]{}};
};

std::uint32_t hash(multipath_policy policy, const bytes &packet)
{
    const bool v6 = packet[0] >> 4 == 6;
    const auto of = [&](std::size_t cut) {
        const segments m(link + packet, cut);
        return v6 ? ip6_multipath_hash(policy, m.get()) : ip4_multipath_hash(policy, m.get());
    };
    const std::uint32_t whole = of(14 + packet.size());
    const std::size_t shortest = v6 ? 54 : 34; // the IP header lies in the first segment
    for (std::size_t cut = shortest; cut < 14 + packet.size(); cut++) {
        EXPECT_EQ(of(cut), whole) << "cut at " << cut;
    }
    return whole;
}

constexpr unsigned kinds = 8; // packets of a kind

/// What the packets of a kind differ in.
const std::map<std::string, std::function<bytes(unsigned)>> kinds4 = {
    {"src",
     [](unsigned i) {
         return ip4({10, 0, 9, low(i)}, there, 17, ports(1, 2));
     }},
    {"dst",
     [](unsigned i) {
         return ip4(here, {10, 0, 9, low(i)}, 17, ports(1, 2));
     }},
    {"protocol", [](unsigned i) { return ip4(here, there, 150 + i, ports(1, 2)); }},
    {"sport", [](unsigned i) { return ip4(here, there, 17, ports(100 + i, 2)); }},
    {"dport", [](unsigned i) { return ip4(here, there, 6, ports(1, 100 + i)); }},
    {"sctp", [](unsigned i) { return ip4(here, there, 132, ports(100 + i, 2)); }},
    {"esp", [](unsigned i) { return ip4(here, there, 50, ports(100 + i, 2)); }},
    {"ah", [](unsigned i) { return ip4(here, there, 51, bytes(4, 9) + ports(100 + i, 2)); }},
    {"fragment", [](unsigned i) { return ip4(here, there, 17, ports(100 + i, 2), 0x2000); }},
    {"echo",
     [](unsigned i) {
         return ip4(here, there, 1, bytes{8, 0, 0, 0, 0, low(i)} + inner4(low(i)));
     }},
    {"error",
     [](unsigned i) {
         return ip4(here, there, 1, bytes{3, 3, 0, 0, 0, 0, 0, 0} + inner4(low(i)));
     }},
    {"ipip dst", [](unsigned i) { return ip4(here, there, 4, inner4(low(i))); }},
    {"ipip sport", [](unsigned i) { return ip4(here, there, 4, inner4(2, 100 + i)); }},
    {"ipip protocol", [](unsigned i) { return ip4(here, there, 4, ip4(inner_here, inner_there, 150 + i, {})); }},
    {"6in4 label", [](unsigned i) { return ip4(here, there, 41, ip6(1, 2, 17, ports(1, 2), 100 + i)); }},
    {"gre dst", [](unsigned i) { return ip4(here, there, 47, gre(0, 0x0800, inner4(low(i)))); }},
    {"gre key dst",
     [](unsigned i) { return ip4(here, there, 47, gre(0xB000, 0x0800, bytes(12, 3) + inner4(low(i)))); }},
    {"gre key", [](unsigned i) { return ip4(here, there, 47, gre(0x2000, 0x0800, bytes(4, low(i)) + inner4(2))); }},
    {"gre routing dst", [](unsigned i) { return ip4(here, there, 47, gre(0x4000, 0x0800, inner4(low(i)))); }},
    {"gre ethernet dst",
     [](unsigned i) { return ip4(here, there, 47, gre(0, 0x6558, bytes(12, 1) + be16(0x0800) + inner4(low(i)))); }},
    {"gre vlan dst",
     [](unsigned i) {
         return ip4(here, there, 47,
                    gre(0, 0x6558, bytes(12, 1) + be16(0x8100) + be16(7) + be16(0x0800) + inner4(low(i))));
     }},
    {"pptp dst",
     [](unsigned i) {
         return ip4(here, there, 47, gre(0x3081, 0x880B, bytes(12, 1) + bytes{0xFF, 3, 0, 0x21} + inner4(low(i))));
     }},
};
const std::map<std::string, std::function<bytes(unsigned)>> kinds6 = {
    {"src", [](unsigned i) { return ip6(100 + i, 2, 17, ports(1, 2)); }},
    {"dst", [](unsigned i) { return ip6(1, 100 + i, 17, ports(1, 2)); }},
    {"label", [](unsigned i) { return ip6(1, 2, 17, ports(1, 2), 100 + i); }},
    {"protocol", [](unsigned i) { return ip6(1, 2, 150 + i, ports(1, 2)); }},
    {"sport", [](unsigned i) { return ip6(1, 2, 17, ports(100 + i, 2)); }},
    {"sport behind options",
     [](unsigned i) {
         return ip6(1, 2, 60, bytes{43, 0, 0, 0, 0, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0, 0} + ports(100 + i, 2));
     }},
    {"fragment",
     [](unsigned i) {
         return ip6(1, 2, 44, bytes{17, 0, 0, 1, 0, 0, 0, 0} + ports(100 + i, 2));
     }},
    {"error",
     [](unsigned i) {
         return ip6(1, 2, 58, bytes{1, 0, 0, 0, 0, 0, 0, 0} + ip6(3, 100 + i, 17, {}));
     }},
    {"echo",
     [](unsigned i) {
         return ip6(1, 2, 58, bytes{128, 0, 0, 0, 0, 0, 0, low(i)} + ip6(3, 100 + i, 17, {}));
     }},
    {"unknown error",
     [](unsigned i) {
         return ip6(1, 2, 58, bytes{100, 0, 0, 0, 0, 0, 0, 0} + ip6(3, 100 + i, 17, {}));
     }},
    {"6in6 dst", [](unsigned i) { return ip6(1, 2, 41, ip6(3, 100 + i, 17, ports(1, 2))); }},
    {"6in6 label", [](unsigned i) { return ip6(1, 2, 41, ip6(3, 4, 17, ports(1, 2), 100 + i)); }},
    {"6in6 outer label", [](unsigned i) { return ip6(1, 2, 41, ip6(3, 4, 17, ports(1, 2)), 100 + i); }},
    {"6in6 sport", [](unsigned i) { return ip6(1, 2, 41, ip6(3, 4, 17, ports(100 + i, 2))); }},
    {"6in6 protocol", [](unsigned i) { return ip6(1, 2, 41, ip6(3, 4, 150 + i, {})); }},
    {"4in6 dst", [](unsigned i) { return ip6(1, 2, 4, inner4(low(i))); }},
};

using names = std::set<std::string>;

/// The kinds whose packets are different flows. Fails if some, but not all, of a kind are.
template <typename Table>
names spread(multipath_policy policy, const Table &table)
{
    names found;
    for (const auto &[name, make] : table) {
        std::set<std::uint32_t> hashes;
        for (unsigned i = 0; i < kinds; i++) {
            hashes.insert(hash(policy, make(10 + i)));
        }
        EXPECT_TRUE(hashes.size() == 1 || hashes.size() == kinds) << name;
        if (hashes.size() != 1) {
            found.insert(name);
        }
    }
    return found;
}

multipath_policy custom(unsigned fields) { return {multipath_kind::custom, static_cast<std::uint16_t>(fields)}; }

TEST(multipath_hash, ip4)
{
    EXPECT_EQ(spread({}, kinds4), (names{"src", "dst", "error"}));
    EXPECT_EQ(spread({multipath_kind::l4}, kinds4),
              (names{"src", "dst", "protocol", "sport", "dport", "sctp", "esp", "ah"}));
    EXPECT_EQ(spread({multipath_kind::inner_l3}, kinds4),
              (names{"src", "dst", "ipip dst", "6in4 label", "gre dst", "gre key dst", "gre ethernet dst",
                     "gre vlan dst", "pptp dst"}));
    EXPECT_EQ(spread(custom(0x001), kinds4), names{"src"});
    EXPECT_EQ(spread(custom(0x002), kinds4), names{"dst"});
    EXPECT_EQ(spread(custom(0x004), kinds4), names{"protocol"});
    EXPECT_EQ(spread(custom(0x008), kinds4), names{});
    EXPECT_EQ(spread(custom(0x010), kinds4), (names{"sport", "sctp", "esp", "ah"}));
    EXPECT_EQ(spread(custom(0x020), kinds4), names{"dport"});
    EXPECT_EQ(spread(custom(0x080), kinds4),
              (names{"ipip dst", "gre dst", "gre key dst", "gre ethernet dst", "gre vlan dst", "pptp dst"}));
    EXPECT_EQ(spread(custom(0x100), kinds4), names{"ipip protocol"});
    EXPECT_EQ(spread(custom(0x200), kinds4), names{"6in4 label"});
    EXPECT_EQ(spread(custom(0x400), kinds4), names{"ipip sport"});
    EXPECT_EQ(spread(custom(0x401), kinds4), (names{"src", "ipip sport"}));
}

TEST(multipath_hash, ip6)
{
    EXPECT_EQ(spread({}, kinds6), (names{"src", "dst", "label", "protocol", "error", "6in6 outer label"}));
    EXPECT_EQ(spread({multipath_kind::l4}, kinds6), (names{"src", "dst", "protocol", "sport", "sport behind options"}));
    EXPECT_EQ(spread({multipath_kind::inner_l3}, kinds6),
              (names{"src", "dst", "label", "protocol", "6in6 dst", "6in6 label", "6in6 outer label", "6in6 protocol",
                     "4in6 dst"}));
    EXPECT_EQ(spread(custom(0x008), kinds6), (names{"label", "6in6 outer label"}));
    EXPECT_EQ(spread(custom(0x080), kinds6), (names{"6in6 dst", "4in6 dst"}));
    EXPECT_EQ(spread(custom(0x200), kinds6), (names{"6in6 label", "6in6 outer label"}));
    EXPECT_EQ(spread(custom(0x400), kinds6), names{"6in6 sport"});
}

TEST(multipath_hash, both_directions_are_one_flow)
{
    for (const multipath_kind kind : {multipath_kind::l3, multipath_kind::l4, multipath_kind::inner_l3}) {
        EXPECT_EQ(hash({kind}, ip4(here, there, 6, ports(1, 2))), hash({kind}, ip4(there, here, 6, ports(2, 1))));
        EXPECT_EQ(hash({kind}, ip6(1, 2, 6, ports(1, 2))), hash({kind}, ip6(2, 1, 6, ports(2, 1))));
    }
}

TEST(multipath_hash, an_error_takes_the_path_of_its_flow)
{
    const bytes icmp4{11, 0, 0, 0, 0, 0, 0, 0}, icmp6{3, 0, 0, 0, 0, 0, 0, 0};
    const bytes flow4 = ip4(here, there, 6, ports(1, 2)), flow6 = ip6(1, 2, 6, ports(1, 2), 77);
    EXPECT_EQ(hash({}, ip4({10, 0, 0, 99}, here, 1, icmp4 + flow4)), hash({}, flow4));
    EXPECT_EQ(hash({}, ip6(99, 1, 58, icmp6 + flow6)), hash({}, flow6));
    const bytes cut = ip4({10, 0, 0, 99}, here, 1, icmp4 + bytes(flow4.begin(), flow4.begin() + 19));
    EXPECT_EQ(hash({}, cut), hash({}, ip4({10, 0, 0, 99}, here, 17, ports(1, 2)))) << "what it quotes is cut off";
}

TEST(multipath_hash, all_fragments_of_a_packet_are_one_flow)
{
    const bytes first = ip4(here, there, 17, ports(1, 2), 0x2000), later = ip4(here, there, 17, ports(3, 4), 100);
    EXPECT_EQ(hash({multipath_kind::l4}, first), hash({multipath_kind::l4}, later));
}

TEST(multipath_hash, a_chain_of_headers_ends)
{
    bytes one = inner4(2), other = inner4(3);
    for (unsigned i = 0; i < 20; i++) {
        one = ip4(here, there, 4, one);
        other = ip4(here, there, 4, other);
    }
    EXPECT_EQ(hash({multipath_kind::inner_l3}, one), hash({multipath_kind::inner_l3}, other));
}

} // namespace
