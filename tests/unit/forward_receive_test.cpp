// SPDX-License-Identifier: BSD-3-Clause
// The receive path as a whole: frames go in, frames, drops and punts come out. Compared with a model, and case by case.
#include "forward_rig.hpp"
#include "optimized.hpp"

#include <map>
#include <random>

using namespace halfpoll;
using namespace halfpoll::test;

namespace
{

constexpr unsigned TYPE_IP4 = 0x0800, TYPE_IP6 = 0x86DD;
constexpr unsigned input_burst = 64; ///< largest burst that a receive handler gets

// ---- frames ----

bytes link_header(const net_device &to, unsigned type)
{
    bytes f(to.mac.addr_bytes, to.mac.addr_bytes + 6);
    f.insert(f.end(), {0x02, 0xAA, 0, 0, 0, 1, static_cast<std::uint8_t>(type >> 8), static_cast<std::uint8_t>(type)});
    return f;
}

void set_checksum(bytes &f) { set16(f, 24, internet_checksum(f, 14, (f[14] & 15U) * 4)); }

/// Makes header, options and payload: `total` bytes of layer 3.
bytes ip4_frame(const net_device &to, const bytes &dst, unsigned total = 46, std::uint8_t ttl = 64, unsigned ihl = 5)
{
    bytes f = link_header(to, TYPE_IP4);
    f.resize(14 + std::max<std::size_t>(total, ihl * 4));
    for (std::size_t i = 34; i < f.size(); i++) {
        f[i] = static_cast<std::uint8_t>(i);
    }
    f[14] = static_cast<std::uint8_t>(0x40 | ihl);
    set16(f, 16, total);
    f[22] = ttl;
    f[23] = 17;
    const std::uint8_t src[] = {192, 0, 2, 9};
    std::ranges::copy(src, f.begin() + 26);
    std::ranges::copy(dst, f.begin() + 30);
    set_checksum(f);
    return f;
}

bytes ip6_addr_of(std::initializer_list<std::uint8_t> front, std::uint8_t last)
{
    bytes a(front);
    a.resize(16);
    a[15] = last;
    return a;
}

bytes ip6_frame(const net_device &to, const bytes &dst, unsigned total = 60, std::uint8_t hops = 64,
                std::uint8_t next = 17)
{
    bytes f = link_header(to, TYPE_IP6);
    f.resize(14 + std::max(total, 40U));
    f[14] = 0x60;
    set16(f, 18, total - 40);
    f[20] = next;
    f[21] = hops;
    std::ranges::copy(ip6_addr_of({0x20, 0x01, 0x0D, 0xB8, 0xFF}, 9), f.begin() + 22);
    std::ranges::copy(dst, f.begin() + 38);
    for (std::size_t i = 54; i < f.size(); i++) {
        f[i] = static_cast<std::uint8_t>(i);
    }
    return f;
}

// ---- random frames ----

class draw
{
public:
    draw(const net_device &to, std::uint64_t seed) : to_(to), random_(seed) {}

    unsigned below(unsigned n) { return static_cast<unsigned>(random_() % n); }
    bool one_in(unsigned n) { return below(n) == 0; }

    /// Chooses the kind of the next burst: IPv4 to one next hop, to several of one port, to many, or mixed and damaged.
    void new_burst()
    {
        static const std::vector<std::vector<std::uint8_t>> characters = {
            {3}, {4}, {8}, {1, 2}, {3, 8}, {1, 2, 3, 4, 5, 6}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13}};
        const unsigned pick = below(12);
        hops_ = characters[std::min<std::size_t>(pick, characters.size() - 1)];
        wild_ = pick > 5;
    }
    bytes frame()
    {
        const unsigned kind = wild_ ? below(10) : 0;
        bytes f = kind < 6 ? ip4() : kind < 9 ? ip6() : other();
        trailing_bytes(f);
        if (wild_) {
            damage(f);
        }
        return f;
    }
    std::vector<std::size_t> cuts(std::size_t size)
    {
        std::vector<std::size_t> at;
        for (unsigned n = one_in(wild_ ? 4 : 12) ? 1 + below(4) : 0; n > 0; n--) {
            at.push_back(1 + below(static_cast<unsigned>(one_in(3) ? size : std::min<std::size_t>(size, 64))));
        }
        std::ranges::sort(at);
        return at;
    }

private:
    std::uint8_t octet() { return static_cast<std::uint8_t>(random_()); }
    std::uint8_t edge_octet()
    {
        constexpr std::uint8_t octets[] = {0, 1, 10, 126, 127, 128, 192, 223, 224, 239, 240, 255};
        return octets[below(std::size(octets))];
    }
    unsigned length()
    {
        constexpr unsigned edges[] = {576, 1280, 1400, 1492, 1496, 1500, 1504, 4000};
        return one_in(5) ? edges[below(std::size(edges))] + below(3) - 1 : 40 + below(120);
    }
    std::uint8_t hops_left() { return static_cast<std::uint8_t>(wild_ && one_in(8) ? below(3) : 2 + below(254)); }

    bytes ip4()
    {
        const bytes dst = {10, hops_[below(static_cast<unsigned>(hops_.size()))], static_cast<std::uint8_t>(below(3)),
                           octet()};
        const unsigned ihl = wild_ && one_in(12) ? 6 + below(10) : 5;
        bytes f = ip4_frame(to_, dst, std::max(length(), ihl * 4), hops_left(), ihl);
        f[29] = octet();
        if (wild_ && one_in(10)) {
            f[one_in(2) ? 26 : 30] = edge_octet();
        }
        if (wild_ && one_in(100)) {
            std::fill_n(f.begin() + 30, 4, std::uint8_t{255});
        }
        if (wild_ && one_in(12)) {
            set16(f, 16, get16(f, 16) + below(41) - 20);
        }
        set16(f, 18, below(65536));
        if (one_in(6)) { // chosen near the limits of the checksum arithmetic
            set16(f, 18, 0);
            const unsigned wanted = one_in(3) ? below(3) : 0xFFFF - (one_in(2) ? below(4) : 0xFE + below(4));
            const unsigned sum = internet_checksum(f, 14, ihl * 4) + (0xFFFF - wanted);
            set16(f, 18, (sum & 0xFFFF) + (sum >> 16));
        }
        set_checksum(f);
        if (get16(f, 24) == 0 && one_in(2)) {
            set16(f, 24, 0xFFFF);
        }
        return f;
    }
    bytes ip6_address(bool source)
    {
        switch (wild_ ? below(24) : 23) {
        case 0:
            return ip6_addr_of({}, 0);
        case 1:
            return ip6_addr_of({}, 1);
        case 2:
            return ip6_addr_of({0xFF, 0x02}, static_cast<std::uint8_t>(1 + below(3)));
        case 3:
            return ip6_addr_of({0xFE, static_cast<std::uint8_t>(0x80 + below(3) * 0x20)}, octet());
        case 4:
            return ip6_addr_of({0, 0, 0, 0, 0, 0, 0, 1}, static_cast<std::uint8_t>(below(2)));
        default:
            return ip6_addr_of({0x20, 0x01, 0x0D, 0xB8, 0,
                                source ? octet() : hops_[below(static_cast<unsigned>(hops_.size()))],
                                static_cast<std::uint8_t>(below(3))},
                               octet());
        }
    }
    bytes ip6()
    {
        constexpr std::uint8_t next[] = {0, 6, 17, 43, 44, 58, 58, 59};
        bytes f = ip6_frame(to_, ip6_address(false), std::max(length(), 41U), hops_left(), next[below(8)]);
        std::ranges::copy(ip6_address(true), f.begin() + 22);
        if (one_in(3)) {
            f[54] = static_cast<std::uint8_t>(131 + below(9));
        }
        if (one_in(12)) {
            set16(f, 18, get16(f, 18) + below(41) - 20);
        }
        return f;
    }
    bytes other()
    {
        constexpr unsigned types[] = {0x0806, 0x0806, 0x88CC, 0x8847, 0x0026, 0x0801};
        bytes f = link_header(to_, types[below(std::size(types))]);
        for (unsigned n = below(60); n > 0; n--) {
            f.push_back(octet());
        }
        return f;
    }

    void trailing_bytes(bytes &f)
    {
        if (one_in(2)) {
            f.resize(std::max<std::size_t>(f.size(), 60));
        }
        if (one_in(8)) {
            f.resize(f.size() + 1 + below(one_in(6) ? 1600 : 60), 0x5A);
        }
    }
    void damage(bytes &f)
    {
        if (one_in(10)) {
            constexpr std::uint8_t firsts[] = {0x02, 0x00, 0x01, 0x33, 0xFF};
            f[0] = firsts[below(std::size(firsts))];
            f[5] ^= static_cast<std::uint8_t>(below(2));
        }
        if (one_in(20)) {
            f.resize(1 + below(static_cast<unsigned>(f.size())));
        }
        for (unsigned n = one_in(4) ? 1 + below(3) : 0; n > 0; n--) {
            f[below(static_cast<unsigned>(std::min<std::size_t>(f.size(), 60)))] ^=
                static_cast<std::uint8_t>(1U << below(8));
        }
        if (f.size() > 13 && (get16(f, 12) == 0x8100 || get16(f, 12) == 0x88A8)) {
            f[12] = 0x08; // not a tag: the kernel would remove it before the test receives the frame
        }
    }

    const net_device &to_;
    std::mt19937_64 random_;
    std::vector<std::uint8_t> hops_;
    bool wild_ = false;
};

class forward_receive_test : public forward_rig
{
protected:
    static bytes dst4(std::uint8_t hop, std::uint8_t last = 1) { return {10, hop, 0, last}; }
    static bytes dst6(std::uint8_t hop, std::uint8_t last = 1)
    {
        return ip6_addr_of({0x20, 0x01, 0x0D, 0xB8, 0, hop}, last);
    }

    /// Adds 10.HOP.0.0/16 and 2001:db8:HOP::/48, and longer prefixes below some of them. Hop 13 has no route.
    void add_routes()
    {
        for (const unsigned type : {TYPE_IP4, TYPE_IP6}) {
            const adjacency hops[] = {
                via(*out1_, 14, type, 1500, 1),
                via(*out1_, 14, type, 1500, 2),
                via(*out2_, 14, type, 9000, 3),
                via(*out2_, 18, type, 1500, 4),
                via(*out2_, 22, type, 1400, 5),
                via(*out1_, 14, type, 576, 6),
                punt_as(PUNT_LOCAL),
                via(*out2_, 14, type, 1492, 8),
                drop_as(DROP_BLACKHOLE),
                punt_as(PUNT_RESOLVE),
                via(*out1_, 22, type, 1504, 11), // MTU larger than the device's
                via(*in_, 18, type, 1280, 12),
            };
            for (std::uint8_t i = 0; i < std::size(hops); i++) {
                type == TYPE_IP4 ? route4({10, static_cast<std::uint8_t>(i + 1), 0, 0}, 16, hops[i])
                                 : route6(dst6(static_cast<std::uint8_t>(i + 1), 0), 48, hops[i]);
            }
        }
        route4({10, 1, 1, 0}, 24, via(*out1_, 14, TYPE_IP4, 1500, 21));
        route4({10, 1, 1, 128}, 25, via(*out1_, 14, TYPE_IP4, 1500, 22));
        route4({10, 6, 2, 7}, 32, punt_as(PUNT_LOCAL));
        route6(ip6_addr_of({0x20, 0x01, 0x0D, 0xB8, 0, 1, 1}, 0), 56, via(*out2_, 18, TYPE_IP6, 9000, 23));
        route6(ip6_addr_of({0x20, 0x01, 0x0D, 0xB8, 0, 1, 1}, 77), 128, punt_as(PUNT_LOCAL));
    }

    /// The frame that must leave for an IPv4 frame `f`, computed independently.
    static bytes routed4(const adjacency &adj, const bytes &f)
    {
        bytes next = f;
        next[22]--;
        set_checksum(next);
        bytes out(adj.rewrite, adj.rewrite + adj.rewrite_len);
        out.insert(out.end(), next.begin() + 14, next.end());
        return out;
    }
    static bytes routed6(const adjacency &adj, const bytes &f)
    {
        bytes out(adj.rewrite, adj.rewrite + adj.rewrite_len);
        out.insert(out.end(), f.begin() + 14, f.end());
        out[adj.rewrite_len + 7U]--;
        return out;
    }
    /// Sends `f` alone, then between two other packets of a burst; cut into segments at `cuts`.
    void expect(const outcome &wanted, const bytes &f, const std::vector<std::size_t> &cuts = {})
    {
        EXPECT_EQ(receive_one(f, cuts), wanted);
        const bytes other = ip4_frame(*in_, dst4(1, 99));
        const auto others = std::pair(static_cast<const net_device *>(out1_), routed4(hop1_, other));
        outcome among = wanted;
        among.sent.insert(among.sent.begin(), others);
        among.sent.push_back(others);
        const std::vector<outcome> seen = receive({{packet_of(other), packet_of(f, cuts), packet_of(other)}});
        EXPECT_EQ(outcome(seen.front()).sort(), among.sort());
    }
    void expect_drop(unsigned reason, const bytes &f, const std::vector<std::size_t> &cuts = {})
    {
        SCOPED_TRACE(drop_reason_name(reason));
        outcome wanted;
        wanted.drops[reason] = 1;
        expect(wanted, f, cuts);
    }
    /// Expects that the kernel gets the frame unchanged.
    void expect_punt(punt_class c, const bytes &f, const std::vector<std::size_t> &cuts = {})
    {
        SCOPED_TRACE(to_string(c));
        outcome wanted;
        wanted.punted[c] = 1;
        expect(wanted, f, cuts);
        EXPECT_EQ(listener_->take(2), (std::vector<bytes>{f, f}));
    }
    void expect_sent(const net_device &dev, const bytes &out, const bytes &f, const std::vector<std::size_t> &cuts = {})
    {
        outcome wanted;
        wanted.sent.emplace_back(&dev, out);
        expect(wanted, f, cuts);
    }
    void start_with_routes()
    {
        start(true);
        model_.mac.assign(in_->mac.addr_bytes, in_->mac.addr_bytes + 6);
        add_routes();
        hop1_ = via(*out1_, 14, TYPE_IP4, 1500, 1);
    }

    adjacency hop1_;
};

/// Counts the results of a random run, so that the test can check that each kind occurred.
using tally = std::map<std::pair<int, unsigned>, unsigned>;

void expect_everything_happened(const tally &seen, unsigned packets)
{
    const auto count = [&](int what, unsigned detail) {
        const auto found = seen.find({what, detail});
        return found == seen.end() ? 0 : found->second;
    };
    EXPECT_GT(count(verdict::sent, 0), packets / 4);
    for (unsigned reason = DROP_OTHERHOST; reason < DROP_NO_SHADOW; reason++) {
        EXPECT_GT(count(verdict::dropped, reason), packets / 2000) << drop_reason_name(reason);
    }
    EXPECT_GT(count(verdict::dropped, DROP_TX_OVERSIZE), packets / 10'000);
    for (unsigned c = 0; c < PUNT_CLASSES; c++) {
        if (c == PUNT_ROUTING || c == PUNT_REDIRECT || c == PUNT_TABLE_FULL || c == PUNT_KERNEL) {
            continue; // rare among random packets (see forward_interface_test), or absent (see mirror_test)
        }
        EXPECT_GT(count(verdict::punted, c), packets / 2000) << to_string(static_cast<punt_class>(c));
    }
}

TEST_F(forward_receive_test, agrees_with_the_model_on_random_bursts)
{
    constexpr unsigned wanted = test::optimized ? 200'000 : 40'000;
    start_with_routes();
    draw random(*in_, 8200);
    tally seen;
    for (unsigned packets = 0; packets < wanted;) {
        ASSERT_TRUE(eventually([&] { return rte_mempool_avail_count(pool_) > 6000; }));
        std::vector<burst> bursts(24);
        std::vector<outcome> want(bursts.size());
        std::vector<std::vector<bytes>> frames(bursts.size());
        std::vector<bytes> to_kernel;
        for (std::size_t b = 0; b < bursts.size(); b++) {
            random.new_burst();
            for (unsigned n = random.one_in(3) ? 32 : 1 + random.below(input_burst); n > 0; n--, packets++) {
                const bytes f = frames[b].emplace_back(random.frame());
                const verdict v = model_.forward(f);
                want[b].add(v);
                ++seen[{v.what, v.detail}];
                if (v.what == verdict::punted) {
                    to_kernel.push_back(f);
                }
                bursts[b].push_back(packet_of(f, random.cuts(f.size())));
            }
        }
        std::vector<outcome> got = receive(bursts);
        for (std::size_t b = 0; b < bursts.size(); b++) {
            ASSERT_EQ(got[b].sort(), want[b].sort()) << "burst of " << testing::PrintToString(frames[b]);
        }
        std::vector<bytes> punted = listener_->take(to_kernel.size());
        std::ranges::sort(punted);
        std::ranges::sort(to_kernel);
        ASSERT_TRUE(punted == to_kernel) << "the kernel got " << punted.size() << " of " << to_kernel.size()
                                         << " frames, or others";
    }
    EXPECT_TRUE(listener_->silent());
    expect_everything_happened(seen, wanted);
}

// ---- one case at a time ----

/// `f` with one byte changed and a correct IPv4 checksum.
bytes with4(bytes f, std::size_t at, std::uint8_t value)
{
    f[at] = value;
    set_checksum(f);
    return f;
}
bytes with(bytes f, std::size_t at, const bytes &value)
{
    std::ranges::copy(value, f.begin() + static_cast<std::ptrdiff_t>(at));
    return f;
}
bytes resized(bytes f, std::size_t size)
{
    f.resize(size);
    return f;
}

TEST_F(forward_receive_test, drops_ip4_by_reason)
{
    start_with_routes();
    const bytes good = ip4_frame(*in_, dst4(1));
    expect_drop(DROP_OTHERHOST, with4(good, 5, 0x77));
    for (const std::size_t size : {1U, 13U, 14U, 33U}) {
        expect_drop(DROP_FRAME_SHORT, resized(good, size));
    }
    expect_drop(DROP_FRAME_SHORT, resized(good, 33), {7, 20});
    expect_drop(DROP_IP_VERSION, with4(good, 14, 0x65));
    expect_drop(DROP_IP_VERSION, with4(good, 14, 0x44));
    expect_drop(DROP_IP_LENGTH, with4(good, 17, 19));
    expect_drop(DROP_IP_LENGTH, with4(good, 17, 47));
    expect_drop(DROP_IP_LENGTH, with4(ip4_frame(*in_, dst4(1), 46, 64, 6), 17, 23));
    expect_drop(DROP_IP_LENGTH, resized(ip4_frame(*in_, dst4(1), 60, 64, 15), 14 + 40)); // options beyond the frame
    expect_drop(DROP_IP_CSUM, with(good, 25, {static_cast<std::uint8_t>(good[25] ^ 1)}));
    bytes bad_option = ip4_frame(*in_, dst4(1), 46, 64, 6);
    bad_option[37] ^= 1; // the last byte that the checksum covers
    expect_drop(DROP_IP_CSUM, bad_option);
    for (const std::uint8_t net : {127, 224, 239}) {
        expect_drop(DROP_IP_SRC, with4(good, 26, net));
    }
    expect_drop(DROP_IP_SRC, with4(with(good, 26, {0, 0, 0, 0}), 22, 64));
    expect_drop(DROP_IP_SRC, with4(with(good, 26, {255, 255, 255, 255}), 22, 64));
    expect_drop(DROP_IP_DST, with4(good, 30, 127));
    expect_drop(DROP_IP_DST, ip4_frame(*in_, {0, 0, 0, 0}));
    expect_drop(DROP_BLACKHOLE, ip4_frame(*in_, dst4(9)));
    expect_drop(DROP_BLACKHOLE, ip4_frame(*in_, dst4(9), 46, 1));
}

/// Network 0 and class E, as in Linux since 5.3.
TEST_F(forward_receive_test, forwards_addresses_that_were_reserved)
{
    start_with_routes();
    const adjacency hop = via(*out1_, 14, TYPE_IP4, 1500, 31);
    route4({240, 0, 0, 0}, 4, hop);
    route4({0, 0, 0, 0}, 8, hop);
    for (const bytes &address : {bytes{0, 0, 0, 1}, {0, 255, 255, 255}, {240, 0, 0, 1}, {255, 255, 255, 254}}) {
        const bytes from = with4(with(ip4_frame(*in_, dst4(1)), 26, address), 22, 64), to = ip4_frame(*in_, address);
        expect_sent(*out1_, routed4(hop1_, from), from);
        expect_sent(*out1_, routed4(hop, to), to);
        expect_punt(PUNT_TTL, with4(to, 22, 1));
    }
}

TEST_F(forward_receive_test, drops_ip6_by_reason)
{
    start_with_routes();
    const bytes good = ip6_frame(*in_, dst6(1));
    const bytes none = ip6_addr_of({}, 0), loopback = ip6_addr_of({}, 1);
    expect_drop(DROP_OTHERHOST, with(good, 5, {0x77}));
    expect_drop(DROP_FRAME_SHORT, resized(good, 53));
    expect_drop(DROP_IP_VERSION, with(good, 14, {0x40}));
    expect_drop(DROP_IP_LENGTH, with(good, 19, {21}));
    expect_drop(DROP_IP_LENGTH, with(good, 18, {0xFF}));
    expect_drop(DROP_IP_SRC, with(good, 22, ip6_addr_of({0xFF, 0x0E}, 1)));
    expect_drop(DROP_IP_SRC, with(good, 22, loopback));
    expect_drop(DROP_IP_SRC, with(good, 22, none)); // an unspecified source is never forwarded
    expect_drop(DROP_IP_SRC, with(ip6_frame(*in_, dst6(9)), 22, none));
    expect_drop(DROP_IP_DST, with(good, 38, none));
    expect_drop(DROP_IP_DST, with(good, 38, loopback));
    expect_drop(DROP_BLACKHOLE, ip6_frame(*in_, dst6(9)));
}

TEST_F(forward_receive_test, punts_ip4_by_class)
{
    start_with_routes();
    bytes broadcast = ip4_frame(*in_, {255, 255, 255, 255});
    expect_punt(PUNT_CONTROL, broadcast);
    expect_punt(PUNT_CONTROL, with4(broadcast, 26, 0)); // as a DHCP client sends
    std::fill_n(broadcast.begin(), 6, std::uint8_t{0xFF});
    expect_punt(PUNT_CONTROL, broadcast);
    expect_punt(PUNT_CONTROL, ip4_frame(*in_, {224, 0, 0, 5}));
    expect_punt(PUNT_LOCAL, ip4_frame(*in_, dst4(7)));
    expect_punt(PUNT_LOCAL, ip4_frame(*in_, dst4(7), 46, 1)); // delivered whatever its TTL
    expect_punt(PUNT_LOCAL, ip4_frame(*in_, dst4(7), 46, 0));
    expect_punt(PUNT_LOCAL, ip4_frame(*in_, dst4(7), 46, 64, 7));
    expect_punt(PUNT_LOCAL, ip4_frame(*in_, dst4(7), 4000), {10, 30});
    expect_punt(PUNT_RESOLVE, ip4_frame(*in_, dst4(10)));
    expect_punt(PUNT_TTL, ip4_frame(*in_, dst4(1), 46, 1));
    expect_punt(PUNT_TTL, ip4_frame(*in_, dst4(1), 46, 0));
    expect_punt(PUNT_TTL, ip4_frame(*in_, dst4(1), 3000, 1, 6));
    expect_punt(PUNT_OPTIONS, ip4_frame(*in_, dst4(1), 46, 64, 6));
    expect_punt(PUNT_OPTIONS, ip4_frame(*in_, dst4(1), 200, 64, 15), {40, 60});
    expect_punt(PUNT_NO_ROUTE, ip4_frame(*in_, dst4(13)));
    expect_punt(PUNT_NO_ROUTE, ip4_frame(*in_, dst4(13), 46, 1));
}

TEST_F(forward_receive_test, punts_ip6_by_class)
{
    start_with_routes();
    const bytes none = ip6_addr_of({}, 0), neighbour = ip6_addr_of({0xFE, 0x80}, 2);
    const bytes all_nodes = ip6_addr_of({0xFF, 0x02}, 1);
    for (const std::uint8_t type : {133, 134, 135, 136, 137}) {
        const bytes nd = with(ip6_frame(*in_, dst6(7), 64, 255, 58), 54, {type});
        expect_punt(PUNT_ARP_ND, nd);
        expect_punt(PUNT_ARP_ND, with(nd, 38, neighbour));
        expect_punt(PUNT_ARP_ND, with(with(nd, 38, all_nodes), 0, {0x33, 0x33}));
        expect_punt(PUNT_ARP_ND, with(nd, 22, none), {14, 54});
        expect_punt(PUNT_ARP_ND, with(with(nd, 38, all_nodes), 0, {0x33, 0x33}), {14, 54});
    }
    for (const std::uint8_t type : {128, 132, 138}) {
        const bytes other = with(ip6_frame(*in_, dst6(7), 64, 255, 58), 54, {type});
        expect_punt(PUNT_LOCAL, other);
        expect_punt(PUNT_CONTROL, with(with(other, 38, all_nodes), 0, {0x33, 0x33}));
    }
    expect_punt(PUNT_CONTROL, with(ip6_frame(*in_, all_nodes), 0, {0x33, 0x33}));
    expect_punt(PUNT_CONTROL, ip6_frame(*in_, all_nodes));
    expect_punt(PUNT_LOCAL, ip6_frame(*in_, dst6(7), 60, 1));
    expect_punt(PUNT_LOCAL, ip6_frame(*in_, dst6(7), 60, 0, 0));
    expect_punt(PUNT_LOCAL, with(ip6_frame(*in_, dst6(7)), 22, neighbour));
    expect_punt(PUNT_RESOLVE, ip6_frame(*in_, dst6(10)));
    expect_punt(PUNT_RESOLVE, with(ip6_frame(*in_, dst6(10)), 22, none)); // it may leave where it came in
    expect_punt(PUNT_TTL, ip6_frame(*in_, dst6(1), 60, 1));
    expect_punt(PUNT_TTL, ip6_frame(*in_, dst6(1), 60, 0));
    expect_punt(PUNT_OPTIONS, ip6_frame(*in_, dst6(1), 60, 64, 0));
    expect_punt(PUNT_NO_ROUTE, ip6_frame(*in_, dst6(13)));
    expect_punt(PUNT_OTHER, with(ip6_frame(*in_, dst6(1)), 22, neighbour)); // beyond the scope of its source
}

TEST_F(forward_receive_test, punts_what_is_not_ip)
{
    start_with_routes();
    bytes arp = resized(link_header(*in_, 0x0806), 60);
    expect_punt(PUNT_ARP_ND, arp);
    std::fill_n(arp.begin(), 6, std::uint8_t{0xFF});
    expect_punt(PUNT_ARP_ND, arp);
    expect_punt(PUNT_OTHER, resized(link_header(*in_, 0x8847), 60));
    expect_punt(PUNT_OTHER, link_header(*in_, 0x8847));
    const bytes lldp = {0x01, 0x80, 0xC2, 0, 0, 0x0E, 2, 0xAA, 0, 0, 0, 1, 0x88, 0xCC, 1, 2};
    expect_punt(PUNT_CONTROL, lldp);
}

TEST_F(forward_receive_test, packets_up_to_the_mtu_leave_and_longer_ones_are_too_big)
{
    start_with_routes();
    const bytes fits4 = ip4_frame(*in_, dst4(6), 576), fits6 = ip6_frame(*in_, dst6(6), 576);
    expect_sent(*out1_, routed4(via(*out1_, 14, TYPE_IP4, 576, 6), fits4), fits4);
    expect_sent(*out1_, routed6(via(*out1_, 14, TYPE_IP6, 576, 6), fits6), fits6);
    expect_punt(PUNT_TOO_BIG, ip4_frame(*in_, dst4(6), 577));
    expect_punt(PUNT_TOO_BIG, ip6_frame(*in_, dst6(6), 577));
    const bytes whole = ip4_frame(*in_, dst4(1), 1500);
    expect_sent(*out1_, routed4(hop1_, whole), whole);
    expect_punt(PUNT_TOO_BIG, ip4_frame(*in_, dst4(1), 1501));
    const bytes jumbo = ip4_frame(*in_, dst4(3), 9000);
    expect_sent(*out2_, routed4(via(*out2_, 14, TYPE_IP4, 9000, 3), jumbo), jumbo);
    const bytes tagged = ip4_frame(*in_, dst4(4), 1500);
    expect_sent(*out2_, routed4(via(*out2_, 18, TYPE_IP4, 1500, 4), tagged), tagged);
    expect_punt(PUNT_TOO_BIG, ip4_frame(*in_, dst4(4), 1501));
}

TEST_F(forward_receive_test, bytes_behind_the_packet_stay_behind)
{
    start_with_routes();
    const adjacency hop6 = via(*out1_, 14, TYPE_IP4, 576, 6);
    const bytes small = ip4_frame(*in_, dst4(6), 28), padded = resized(small, 60);
    expect_sent(*out1_, routed4(hop6, small), padded);
    const bytes whole = ip4_frame(*in_, dst4(6), 500);
    const bytes fits = resized(whole, 14 + 576), surplus = resized(whole, 14 + 577);
    expect_sent(*out1_, routed4(hop6, whole), fits);
    expect_sent(*out1_, routed4(hop6, whole), surplus);
    expect_sent(*out1_, routed4(hop6, whole), surplus, {300, 400, 550, 580}); // the packet ends inside a segment
    expect_sent(*out1_, routed4(hop6, whole), surplus, {300, 514, 580});      // the packet ends with a segment
    const bytes whole6 = ip6_frame(*in_, dst6(6), 500);
    expect_sent(*out1_, routed6(via(*out1_, 14, TYPE_IP6, 576, 6), whole6), resized(whole6, 1000), {20, 600, 700});
    expect_sent(*out1_, routed6(via(*out1_, 14, TYPE_IP6, 576, 6), whole6), resized(whole6, 550));
}

/// `f` with an identification that makes its checksum `wanted`. The value 0xFFFF is written as such, not as 0.
bytes with_checksum(bytes f, unsigned wanted)
{
    set16(f, 18, 0);
    const unsigned sum = internet_checksum(f, 14, 20) + (0xFFFF - wanted % 0xFFFF);
    set16(f, 18, (sum & 0xFFFF) + (sum >> 16));
    set16(f, 24, wanted);
    return f;
}

TEST_F(forward_receive_test, checksum_edges_of_the_ttl_decrement)
{
    start_with_routes();
    constexpr std::pair<unsigned, unsigned> cases[] = {{0xFEFE, 0xFFFE}, {0xFEFF, 0x0000}, {0xFF00, 0x0001},
                                                       {0xFFFE, 0x00FF}, {0xFFFF, 0x0100}, {0x0000, 0x0100},
                                                       {0x00FF, 0x01FF}, {0xFDFF, 0xFEFF}};
    for (const auto &[before, after] : cases) {
        SCOPED_TRACE(before);
        const bytes f = with_checksum(ip4_frame(*in_, dst4(1)), before);
        const bytes out = routed4(hop1_, f);
        ASSERT_EQ(get16(out, 24), after);
        expect_sent(*out1_, out, f);       // rewritten by the burst path
        expect_sent(*out1_, out, f, {20}); // by classify(), since the header is in two segments
        const bytes tagged = with_checksum(ip4_frame(*in_, dst4(4)), before);
        expect_sent(*out2_, routed4(via(*out2_, 18, TYPE_IP4, 1500, 4), tagged), tagged);
    }
}

TEST_F(forward_receive_test, link_headers_grow_into_the_headroom)
{
    start_with_routes();
    constexpr std::pair<std::uint8_t, unsigned> hops[] = {{3, 14}, {4, 18}, {5, 22}};
    for (const auto &[hop, length] : hops) {
        for (const unsigned type : {TYPE_IP4, TYPE_IP6}) {
            const adjacency adj = via(*out2_, length, type, 1400, hop);
            const bytes f = type == TYPE_IP4 ? ip4_frame(*in_, dst4(hop)) : ip6_frame(*in_, dst6(hop));
            outcome wanted;
            wanted.sent.emplace_back(out2_, type == TYPE_IP4 ? routed4(adj, f) : routed6(adj, f));
            EXPECT_EQ(receive_one(f), wanted);
            EXPECT_EQ(receive_one(f, {}, length - 14), wanted) << "just enough";
            outcome no_room;
            no_room.drops[DROP_NOMEM] = 1;
            if (length > 14) {
                EXPECT_EQ(receive_one(f, {}, length - 15), no_room);
            }
        }
    }
}

TEST_F(forward_receive_test, egress_that_cannot_take_a_packet)
{
    start_with_routes();
    expect_drop(DROP_TX_OVERSIZE, ip4_frame(*in_, dst4(11), 1504));
    const bytes fits = ip4_frame(*in_, dst4(11), 1500);
    expect_sent(*out1_, routed4(via(*out1_, 22, TYPE_IP4, 1504, 11), fits), fits);
    burst full; // a full burst remains after the oversized packet was dropped
    for (unsigned i = 0; i <= NET_BURST; i++) {
        full.push_back(packet_of(ip4_frame(*in_, dst4(11), i == 5 ? 1504 : 1500)));
    }
    const outcome seen = receive({full}).front();
    EXPECT_EQ(seen.sent.size(), NET_BURST);
    EXPECT_EQ(seen.drops[DROP_TX_OVERSIZE], 1U);
    wire_of(*out2_).up = false;
    wire_of(*out2_).event(port_event::link);
    core_->run_control();
    expect_drop(DROP_DEV_READY, ip4_frame(*in_, dst4(3)));
}

TEST_F(forward_receive_test, without_a_slow_path_punts_are_drops)
{
    start(false);
    add_routes();
    for (const bytes &f : {ip4_frame(*in_, dst4(7)), ip4_frame(*in_, dst4(13)), ip4_frame(*in_, dst4(1), 46, 1),
                           ip6_frame(*in_, dst6(7)), resized(link_header(*in_, 0x0806), 60)}) {
        outcome wanted;
        wanted.drops[DROP_NO_SHADOW] = 1;
        EXPECT_EQ(receive_one(f), wanted);
    }
}

TEST_F(forward_receive_test, a_burst_of_64_of_all_kinds_keeps_its_order)
{
    start_with_routes();
    burst pkts;
    outcome wanted;
    for (unsigned i = 0; i < 64; i++) {
        const std::uint8_t hop = static_cast<std::uint8_t>(1 + i % 13), last = static_cast<std::uint8_t>(i);
        const bytes f = i % 3 == 0 ? ip6_frame(*in_, dst6(hop, last)) : ip4_frame(*in_, dst4(hop, last));
        wanted.add(model_.forward(f));
        pkts.push_back(packet_of(f));
    }
    EXPECT_EQ(receive({pkts}).front().sort(), wanted.sort());
}

// ---- next hops that change ----

class next_hop_test : public forward_receive_test
{
protected:
    /// For each of two flows, the two next hops between which its prefix alternates.
    using choices = adjacency[2][2];

    static bytes prefix(std::uint8_t hop) { return {10, hop, 0, 0}; }
    std::size_t sent_count()
    {
        const std::lock_guard lock(mutex_);
        return sent_.size();
    }

    /// Runs on a thread of its own. Sends numbered packets of two flows until enough packets and replacements have
    /// happened.
    void feed(const std::atomic<unsigned> &replaced, unsigned &fed)
    {
        while (fed < 60'000 || replaced < 1'000) {
            if (!eventually([&] { return rte_mempool_avail_count(pool_) > 4000; })) {
                ADD_FAILURE() << "packets do not come back";
                return;
            }
            for (unsigned i = 0; i < 64; i++, fed++) {
                bytes f = ip4_frame(*in_, dst4(i % 5 ? 1 : 2));
                set16(f, 18, fed);
                set16(f, 34, fed >> 16);
                set_checksum(f);
                wire_of(*in_).receive(packet_of(f));
            }
        }
    }

    /// Expects that every packet left by one of its flow's next hops, that each flow stayed in order on each port, and
    /// that both next hops were used.
    void expect_one_of(const choices &to)
    {
        unsigned seen[2][2] = {};
        std::map<std::pair<const net_device *, unsigned>, unsigned> next; // by port and flow: least next number
        for (const auto &[dev, f] : sent_) {
            const unsigned tags = static_cast<unsigned>(f.size()) - 60; // length of the tags
            ASSERT_LE(tags, 8U);
            const unsigned flow = f[14 + tags + 17] - 1U;
            ASSERT_LE(flow, 1U);
            const unsigned age = is_via(to[flow][0], dev, f) ? 0 : 1;
            ASSERT_TRUE(is_via(to[flow][age], dev, f)) << "a mix: " << testing::PrintToString(f);
            seen[flow][age]++;
            const unsigned number = get16(f, 14 + tags + 20) << 16 | get16(f, 14 + tags + 4);
            unsigned &least = next[{dev, flow}];
            ASSERT_GE(number, least);
            least = number + 1;
        }
        for (const auto &flow : seen) {
            EXPECT_GT(flow[0], 0U);
            EXPECT_GT(flow[1], 0U);
        }
    }
    static bool is_via(const adjacency &adj, const net_device *dev, const bytes &f)
    {
        return dev == adj.dev && f.size() == adj.rewrite_len + 46U &&
               std::equal(adj.rewrite, adj.rewrite + adj.rewrite_len, f.begin());
    }
};

TEST_F(next_hop_test, each_packet_leaves_with_the_old_or_the_new_rewrite)
{
    start(false);
    const choices to = {{via(*out1_, 14, TYPE_IP4, 1500, 0xA1), via(*out2_, 18, TYPE_IP4, 1500, 0xB1)},
                        {via(*out1_, 14, TYPE_IP4, 1500, 0xA2), via(*out1_, 22, TYPE_IP4, 1400, 0xB2)}};
    const std::uint32_t hop[] = {route4(prefix(1), 16, to[0][0]), route4(prefix(2), 16, to[1][0])};
    std::atomic<unsigned> replaced{0};
    std::atomic<bool> done{false};
    unsigned fed = 0; // owned by the feeder until it ends
    std::thread feeder([&] {
        feed(replaced, fed);
        done = true;
    });
    for (; !done; replaced++) {
        fwd_->nexthops().replace(hop[replaced % 2], to[replaced % 2][(replaced / 2 + 1) % 2]);
        fwd_->reclaim();
        std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
    feeder.join();
    ASSERT_TRUE(eventually([&] { return sent_count() == fed; })) << sent_count() << " of " << fed;
    expect_one_of(to);
}

TEST_F(next_hop_test, what_is_retired_waits_for_the_poll_that_may_use_it)
{
    start(false);
    const std::uint32_t hop = route4(prefix(1), 16, hop1_ = via(*out1_, 14, TYPE_IP4, 1500, 1));
    const std::uint32_t unused = fwd_->nexthops().add(punt_as(PUNT_OTHER));
    std::atomic<bool> inside{false}, leave{false};
    wire_of(*out1_).on_tx = [&](rte_mbuf **pkts, unsigned n) {
        inside = true;
        leave.wait(false);
        record(*out1_, pkts, n);
    };
    const bytes f = ip4_frame(*in_, dst4(1));
    wire_of(*in_).receive(packet_of(f));
    const bool blocked = eventually([&] { return inside.load(); });
    bool ran = false;
    const adjacency next = via(*out2_, 18, TYPE_IP4, 1500, 2);
    fwd_->nexthops().replace(hop, next);
    fwd_->nexthops().remove(unused);
    fwd_->retire([&] { ran = true; });
    fwd_->reclaim();
    EXPECT_FALSE(ran);
    EXPECT_NE(fwd_->nexthops().add(punt_as(PUNT_OTHER)), unused) << "reused before the grace period";
    leave = true;
    leave.notify_one();
    ASSERT_TRUE(blocked);
    EXPECT_TRUE(eventually([&] {
        fwd_->reclaim();
        return ran;
    }));
    EXPECT_EQ(fwd_->nexthops().add(punt_as(PUNT_OTHER)), unused);

    const outcome after = receive_one(f);
    ASSERT_EQ(after.sent.size(), 2U);
    EXPECT_EQ(after.sent[0].second, routed4(hop1_, f));
    EXPECT_EQ(after.sent[1].second, routed4(next, f));
}

TEST_F(next_hop_test, a_removed_next_hop_serves_its_grace_period_and_punts_until_it_is_another)
{
    start_with_routes();
    const std::uint32_t hop = route4({10, 40, 0, 0}, 16, hop1_);
    const bytes f = ip4_frame(*in_, dst4(40));
    expect_sent(*out1_, routed4(hop1_, f), f);
    fwd_->nexthops().remove(hop);
    expect_sent(*out1_, routed4(hop1_, f), f);
    rt_->synchronize_rcu();
    fwd_->reclaim();
    expect_punt(PUNT_NO_ROUTE, f);
    const adjacency other = via(*out2_, 14, TYPE_IP4, 1500, 40);
    ASSERT_EQ(fwd_->nexthops().add(other), hop);
    expect_sent(*out2_, routed4(other, f), f);
}

TEST_F(next_hop_test, the_end_of_the_forwarder_runs_what_was_retired_in_order)
{
    start(false);
    std::vector<int> ran;
    fwd_->retire([&] { ran.push_back(1); });
    fwd_->retire([&] { ran.push_back(2); });
    fwd_.reset();
    EXPECT_EQ(ran, (std::vector{1, 2}));
}

} // namespace
