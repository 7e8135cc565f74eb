// SPDX-License-Identifier: BSD-3-Clause
// The flow hash of every kind of frame, with each implementation that this machine can run.
#include "netio/flow/flow_hash_levels.hpp"

#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <random>
#include <set>
#include <string>
#include <vector>

using namespace halfpoll;

namespace
{

using bytes = std::vector<std::uint8_t>;
constexpr std::uint8_t TCP = 6, UDP = 17, ICMP = 1;

void append(bytes &to, const bytes &what) { to.insert(to.end(), what.begin(), what.end()); }

bytes address(const char *text)
{
    bytes a(std::strchr(text, ':') ? 16 : 4);
    EXPECT_EQ(inet_pton(a.size() == 16 ? AF_INET6 : AF_INET, text, a.data()), 1) << text;
    return a;
}

bytes be16(unsigned v) { return {static_cast<std::uint8_t>(v >> 8), static_cast<std::uint8_t>(v)}; }

struct frame_parts {
    const char *src, *dst;
    unsigned sport = 0, dport = 0;
    std::uint8_t protocol = TCP;
    bytes tags;                  ///< VLAN tags with their EtherTypes
    unsigned fragment = 0;       ///< IPv4: the 16 bits of flags and offset
    unsigned options = 0;        ///< number of 32-bit words
    bytes extensions;            ///< IPv6 extension headers
    std::uint8_t first_next = 0; ///< next-header field of the IPv6 header, if there are extensions
};

bytes frame(const frame_parts &p)
{
    const bytes src = address(p.src), dst = address(p.dst);
    bytes f(12, 0x02);
    append(f, p.tags);
    if (src.size() == 4) {
        append(f, {0x08, 0x00, static_cast<std::uint8_t>(0x45 + p.options), 0, 0, 40, 0, 0});
        append(f, be16(p.fragment));
        append(f, {64, p.protocol, 0, 0});
    } else {
        append(f, {0x86, 0xDD, 0x60, 1, 2, 3, 0, 20, p.extensions.empty() ? p.protocol : p.first_next, 64});
    }
    append(f, src);
    append(f, dst);
    f.resize(f.size() + p.options * 4, 1);
    append(f, p.extensions);
    append(f, be16(p.sport));
    append(f, be16(p.dport));
    f.resize(f.size() + 16, 0xEE);
    return f;
}

/// Memory in which the last byte of a frame is the last readable byte.
class guarded
{
public:
    guarded()
    {
        base_ = static_cast<std::uint8_t *>(
            mmap(nullptr, 2 * page_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        EXPECT_NE(base_, MAP_FAILED);
        EXPECT_EQ(mprotect(base_ + page_, page_, PROT_NONE), 0);
    }
    ~guarded() { munmap(base_, 2 * page_); }
    guarded(const guarded &) = delete;
    guarded &operator=(const guarded &) = delete;

    rte_mbuf mbuf(const bytes &f)
    {
        std::uint8_t *at = base_ + page_ - f.size();
        std::copy(f.begin(), f.end(), at);
        rte_mbuf m{};
        m.buf_addr = at;
        m.data_len = static_cast<std::uint16_t>(f.size());
        m.pkt_len = m.data_len;
        m.hash.rss = 0xDEADBEEF; // a value left over from another packet
        return m;
    }

private:
    const std::size_t page_ = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    std::uint8_t *base_;
};

/// The key of Microsoft's RSS specification, with which its test vectors are computed.
constexpr std::array<std::uint8_t, 40> MICROSOFTS = {0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67,
                                                     0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb,
                                                     0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30,
                                                     0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa};

class flow_hash_test : public testing::TestWithParam<flow_hash_level>
{
protected:
    void SetUp() override { set_flow_hash_key(MICROSOFTS); }
    std::uint32_t hash(const bytes &f)
    {
        rte_mbuf m = memory_.mbuf(f), *pkt = &m;
        std::uint32_t h;
        GetParam().hash(&pkt, 1, &h);
        EXPECT_EQ((m.ol_flags & RTE_MBUF_F_RX_RSS_HASH) != 0, h != 0);
        if (h != 0) {
            EXPECT_EQ(m.hash.rss, h) << "later users find it in the mbuf";
        }
        return h;
    }
    guarded memory_;
};

INSTANTIATE_TEST_SUITE_P(level, flow_hash_test, testing::ValuesIn(flow_hash_levels().begin(), flow_hash_levels().end()),
                         [](const auto &level) { return std::string(level.param.name); });

/// Test vectors of "Verifying the RSS hash calculation", Microsoft.
TEST_P(flow_hash_test, TheKnownAnswers)
{
    const struct {
        const char *dst;
        unsigned dport;
        const char *src;
        unsigned sport;
        std::uint32_t addresses, with_ports;
    } answers[] = {
        {"161.142.100.80", 1766, "66.9.149.187", 2794, 0x323e8fc2, 0x51ccc178},
        {"65.69.140.83", 4739, "199.92.111.2", 14230, 0xd718262a, 0xc626b0ea},
        {"12.22.207.184", 38024, "24.19.198.95", 12898, 0xd2d0a5de, 0x5c2b394a},
        {"209.142.163.6", 2217, "38.27.205.30", 48228, 0x82989176, 0xafc7327f},
        {"202.188.127.2", 1303, "153.39.163.191", 44251, 0x5d1809c5, 0x10e828a2},
        {"3ffe:2501:200:3::1", 1766, "3ffe:2501:200:1fff::7", 2794, 0x2cc18cd5, 0x40207d3d},
        {"ff02::1", 4739, "3ffe:501:8::260:97ff:fe40:efab", 14230, 0x0f0c461c, 0xdde51bbf},
        {"fe80::200:f8ff:fe21:67cf", 38024, "3ffe:1900:4545:3:200:f8ff:fe21:67cf", 44251, 0x4b61e985, 0x02d1feef},
    };
    for (const auto &a : answers) {
        EXPECT_EQ(hash(frame({a.src, a.dst, a.sport, a.dport, TCP})), a.with_ports) << a.src;
        EXPECT_EQ(hash(frame({a.src, a.dst, a.sport, a.dport, UDP})), a.with_ports) << a.src;
        EXPECT_EQ(hash(frame({a.src, a.dst, a.sport, a.dport, ICMP})), a.addresses) << a.src;
    }
}

TEST_P(flow_hash_test, TagsAndHeadersInBetweenDoNotCount)
{
    const frame_parts plain4{"10.1.2.3", "10.4.5.6", 1000, 53, UDP};
    const frame_parts plain6{"2001:db8::1", "2001:db8::2", 1000, 53, UDP};
    const std::uint32_t h4 = hash(frame(plain4)), h6 = hash(frame(plain6));
    ASSERT_NE(h4, 0U);
    ASSERT_NE(h6, 0U);
    for (const bytes &tags : {bytes{0x81, 0, 0, 7}, bytes{0x88, 0xA8, 0, 7, 0x81, 0, 0, 9},
                              bytes{0x81, 0, 0, 7, 0x81, 0, 0, 9}, bytes{0x91, 0, 0, 7, 0x81, 0, 0, 9}}) {
        frame_parts f = plain4;
        f.tags = tags;
        EXPECT_EQ(hash(frame(f)), h4);
        f = plain6;
        f.tags = tags;
        EXPECT_EQ(hash(frame(f)), h6);
    }
    frame_parts options = plain4;
    options.options = 3;
    EXPECT_EQ(hash(frame(options)), h4);
    const bytes hop{60, 0, 1, 4, 0, 0, 0, 0}, destination{43, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
        routing{UDP, 0, 0, 0, 0, 0, 0, 0};
    frame_parts extended = plain6;
    extended.first_next = 0;
    for (const bytes *header : {&hop, &destination, &routing}) {
        append(extended.extensions, *header);
    }
    EXPECT_EQ(hash(frame(extended)), h6);
}

TEST_P(flow_hash_test, FragmentsStayTogether)
{
    frame_parts f{"10.1.2.3", "10.4.5.6", 1000, 53, UDP};
    const std::uint32_t whole = hash(frame(f));
    f.fragment = 0x4000; // Don't Fragment
    EXPECT_EQ(hash(frame(f)), whole);
    f.fragment = 0x2000;
    const std::uint32_t first = hash(frame(f));
    EXPECT_NE(first, whole);
    f.fragment = 0x2010;
    f.sport = 0x1234; // part of the payload in a later fragment
    EXPECT_EQ(hash(frame(f)), first);
    f.fragment = 0x0100;
    EXPECT_EQ(hash(frame(f)), first);

    frame_parts f6{"2001:db8::1", "2001:db8::2", 1000, 53, UDP};
    f6.first_next = 44;
    f6.extensions = {UDP, 0, 0, 1, 0, 0, 0, 9};
    const std::uint32_t first6 = hash(frame(f6));
    f6.extensions = {UDP, 0, 0x05, 0xA8, 0, 0, 0, 9};
    f6.sport = 0x1234;
    EXPECT_EQ(hash(frame(f6)), first6);
    EXPECT_EQ(first6, hash(frame({"2001:db8::1", "2001:db8::2", 0, 0, ICMP})));
}

TEST_P(flow_hash_test, WhatHasNoFlow)
{
    bytes arp(60, 0);
    arp[12] = 0x08;
    arp[13] = 0x06;
    EXPECT_EQ(hash(arp), 0U);
    bytes three_tags(12, 2);
    for (int i = 0; i < 3; ++i) {
        append(three_tags, {0x81, 0, 0, 1});
    }
    append(three_tags, bytes(60, 0x45));
    EXPECT_EQ(hash(three_tags), 0U);
    bytes wrong_version = frame({"10.1.2.3", "10.4.5.6", 1, 2, UDP});
    wrong_version[14] = 0x65;
    EXPECT_EQ(hash(wrong_version), 0U);
}

/// An access beyond the end would be a segmentation fault.
TEST_P(flow_hash_test, CutAnywhere)
{
    frame_parts f4{"10.1.2.3", "10.4.5.6", 1000, 53, UDP}, f6{"2001:db8::1", "2001:db8::2", 1000, 53, UDP};
    f4.tags = f6.tags = {0x81, 0, 0, 7};
    f6.first_next = 0;
    f6.extensions = {UDP, 0, 1, 4, 0, 0, 0, 0};
    for (const frame_parts &parts : {f4, f6, frame_parts{"10.1.2.3", "10.4.5.6", 1000, 53, UDP}}) {
        const bytes f = frame(parts);
        const bool ip6 = std::strchr(parts.src, ':');
        const std::size_t ip = 14 + parts.tags.size();
        const std::size_t addresses = ip + (ip6 ? 40 : 20), ports = addresses + parts.extensions.size() + 4;
        const std::uint32_t whole = hash(f);
        const std::uint32_t without_ports = hash(frame({parts.src, parts.dst, 0, 0, ICMP}));
        ASSERT_NE(whole, without_ports);
        for (std::size_t n = 0; n < f.size(); ++n) {
            const std::uint32_t expected = n >= ports ? whole : n >= addresses ? without_ports : 0;
            EXPECT_EQ(hash(bytes(f.begin(), f.begin() + static_cast<std::ptrdiff_t>(n))), expected) << n << " bytes";
        }
    }
}

TEST_P(flow_hash_test, TheNicsHashIsTaken)
{
    rte_mbuf m = memory_.mbuf(frame({"10.1.2.3", "10.4.5.6", 1, 2, UDP})), *pkt = &m;
    m.ol_flags = RTE_MBUF_F_RX_RSS_HASH;
    m.hash.rss = 0x12345678;
    std::uint32_t h = 0;
    GetParam().hash(&pkt, 1, &h);
    EXPECT_EQ(h, 0x12345678U);
    EXPECT_EQ(m.hash.rss, 0x12345678U);
}

/// Bursts of every length and of mixed frames give the same hashes as the portable function gives packet by packet.
TEST_P(flow_hash_test, BurstsAgree)
{
    std::mt19937 random(7);
    const auto frame_of = [&] {
        const std::string last = std::to_string(random() % 250 + 1);
        const bool ip6 = random() % 4 == 0;
        const std::string src = ip6 ? "2001:db8::" + last : "10.1.2." + last;
        frame_parts p{src.c_str(), ip6 ? "2001:db8:5::9" : "10.9.9.9", static_cast<unsigned>(random() & 0xFFFF), 80};
        p.protocol = random() % 4 == 0 ? ICMP : TCP;
        p.tags = random() % 4 == 0 ? bytes{0x81, 0, 0, 5} : bytes();
        bytes f = frame(p);
        f[12] ^= random() % 8 == 0 ? 0x40 : 0; // another EtherType
        return f;
    };
    for (unsigned n = 1; n <= FLOW_HASH_BURST; ++n) {
        std::vector<bytes> data(n);
        std::vector<rte_mbuf> mbufs(n);
        std::vector<rte_mbuf *> pkts(n);
        std::vector<std::uint32_t> expected(n), found(n);
        for (unsigned i = 0; i < n; ++i) {
            data[i] = frame_of();
            rte_mbuf &m = mbufs[i];
            m = {};
            m.buf_addr = data[i].data();
            m.data_len = static_cast<std::uint16_t>(data[i].size());
            pkts[i] = &m;
            rte_mbuf copy = m, *alone = &copy;
            flow_hash_portable(&alone, 1, &expected[i]);
            if (random() % 5 == 0) {
                m.ol_flags = RTE_MBUF_F_RX_RSS_HASH;
                m.hash.rss = expected[i] = static_cast<std::uint32_t>(random());
            }
        }
        GetParam().hash(pkts.data(), n, found.data());
        EXPECT_EQ(found, expected) << "burst of " << n;
    }
}

/// The key is random, so that a reader of the source cannot predict the CPU of a flow. Runs before all tests that set
/// the key of this process.
TEST(flow_hash, TheKeyIsRandomInEachProcess)
{
    const auto key_of_a_process = [] {
        int ends[2];
        EXPECT_EQ(pipe(ends), 0);
        const pid_t child = fork();
        if (child == 0) {
            const flow_hash_key_bytes &key = flow_hash_key();
            _exit(write(ends[1], key.data(), key.size()) == static_cast<ssize_t>(key.size()) ? 0 : 1);
        }
        flow_hash_key_bytes key{};
        EXPECT_EQ(read(ends[0], key.data(), key.size()), static_cast<ssize_t>(key.size()));
        close(ends[0]);
        close(ends[1]);
        int status = -1;
        EXPECT_EQ(waitpid(child, &status, 0), child);
        EXPECT_EQ(status, 0);
        return key;
    };
    const auto first = key_of_a_process(), second = key_of_a_process();
    EXPECT_GT(std::set<std::uint8_t>(first.begin(), first.end()).size(), 50U);
    EXPECT_NE(first, second);
}

TEST_P(flow_hash_test, AnotherKeyIsAnotherHash)
{
    std::vector<std::uint8_t> key(52, 0);
    for (unsigned i = 0; i < key.size(); ++i) {
        key[i] = static_cast<std::uint8_t>(i * 37 + 11);
    }
    const bytes f = frame({"66.9.149.187", "161.142.100.80", 2794, 1766, TCP});
    const std::uint32_t before = hash(f);
    set_flow_hash_key(key);
    EXPECT_NE(hash(f), before);
    rte_mbuf m = memory_.mbuf(f), *pkt = &m;
    std::uint32_t portable;
    flow_hash_portable(&pkt, 1, &portable);
    EXPECT_EQ(hash(f), portable);
    EXPECT_TRUE(std::equal(key.begin(), key.end(), flow_hash_key().begin()));
    EXPECT_TRUE(std::equal(key.begin(), key.end(), flow_hash_key().begin() + 52)) << "a NIC may have a longer one";
}

TEST(flow_hash, TheBestLevelIsUsed)
{
    set_flow_hash_key(MICROSOFTS);
    bytes f = frame({"66.9.149.187", "161.142.100.80", 2794, 1766, TCP});
    rte_mbuf m{}, *pkt = &m;
    m.buf_addr = f.data();
    m.data_len = static_cast<std::uint16_t>(f.size());
    std::uint32_t h = 0;
    flow_hash_burst(&pkt, 1, &h);
    EXPECT_EQ(h, 0x51ccc178U);
    EXPECT_STREQ(flow_hash_levels().back().name, "portable");
}

} // namespace
