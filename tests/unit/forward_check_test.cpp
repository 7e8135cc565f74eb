// SPDX-License-Identifier: BSD-3-Clause
// ip4_check() of every SIMD level against a plain implementation of RFC 1812, on random and damaged headers.
#include "forward/packet/ip4_check.hpp"
#include "forward/packet/wire.hpp"
#include "optimized.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

using namespace halfpoll;

namespace
{

constexpr std::uint64_t our_mac = 0x060504030200;

/// A packet outside any pool: ip4_check() reads only these fields.
struct packet {
    alignas(64) rte_mbuf mbuf{};
    std::vector<std::uint8_t> bytes;

    void set(const std::vector<std::uint8_t> &frame, std::uint16_t first_segment)
    {
        bytes.assign(frame.begin(), frame.begin() + first_segment); // exact: a sanitizer detects reads beyond it
        mbuf.buf_addr = bytes.data();
        mbuf.data_off = 0;
        mbuf.data_len = first_segment;
        mbuf.pkt_len = static_cast<std::uint32_t>(frame.size());
    }
};

std::uint16_t checksum(const std::uint8_t *ip)
{
    std::uint32_t sum = 0;
    for (unsigned i = 0; i < 20; i += 2) {
        sum += i == 10 ? 0U : load_be16(ip + i);
    }
    while (sum >> 16) {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    return static_cast<std::uint16_t>(~sum);
}

bool usable(std::uint8_t first_octet) { return first_octet != 0 && first_octet != 127 && first_octet < 224; }

/// The expected result for a frame, by separate rules. Where the checksum is 0, a field of 0xFFFF verifies, too.
bool plain(const packet &p)
{
    if (p.mbuf.data_len < 34) {
        return false;
    }
    const std::uint8_t *ip = p.bytes.data() + 14;
    const unsigned total = load_be16(ip + 2);
    const std::uint16_t right = checksum(ip), is = load_be16(ip + 10);
    return load_be16(p.bytes.data() + 12) == 0x0800 && ip[0] == 0x45 && total >= 20 && total + 14 <= p.mbuf.pkt_len &&
           (is == right || (is == 0xFFFF && right == 0)) && ip[8] > 1 && usable(ip[12]) && usable(ip[16]);
}

/// True if the frame has bytes behind its packet.
bool trailed(const packet &p) { return load_be16(p.bytes.data() + 16) + 14U < p.mbuf.pkt_len; }

class draw
{
public:
    explicit draw(std::uint64_t seed) : random_(seed) {}
    unsigned below(unsigned n) { return static_cast<unsigned>(random_() % n); }

    void packet_into(packet &p)
    {
        const unsigned size = below(8) ? 60 : 34 + below(80);
        std::vector<std::uint8_t> f(size);
        for (auto &b : f) {
            b = static_cast<std::uint8_t>(random_());
        }
        constexpr std::uint8_t octets[] = {0, 1, 10, 126, 127, 128, 192, 223, 224, 239, 240, 255};
        const std::uint8_t head[] = {0, 2, 3, 4, 5, 6};
        std::copy(std::begin(head), std::end(head), f.begin());
        f[12] = 8, f[13] = 0, f[14] = 0x45;
        set16(f, 16, below(8) ? size - 14 : std::min(15 + below(size), 65535U));
        f[22] = below(4) ? 64 : static_cast<std::uint8_t>(below(4));
        f[26] = below(6) ? 10 : octets[below(12)];
        f[30] = below(6) ? 20 : octets[below(12)];
        if (below(4) == 0) { // chosen near the limits of the checksum arithmetic
            set16(f, 18, 0);
            const unsigned target = below(3) ? 0xFFFDU + below(3) : below(4);
            set16(f, 18, one_complement_minus(checksum(f.data() + 14), target));
        }
        set16(f, 24, checksum(f.data() + 14));
        if (below(64) == 0 && load_be16(f.data() + 24) == 0) {
            set16(f, 24, 0xFFFF);
        }
        for (unsigned damage = below(3) ? 0 : 1 + below(2); damage > 0; damage--) {
            f[12 + below(22)] ^= static_cast<std::uint8_t>(1U << below(8));
        }
        if (below(16) == 0) {
            f[below(6)] ^= static_cast<std::uint8_t>(1U << below(8));
        }
        p.set(f, static_cast<std::uint16_t>(below(16) ? size : 1 + below(size)));
    }

private:
    static void set16(std::vector<std::uint8_t> &f, unsigned at, unsigned v)
    {
        f[at] = static_cast<std::uint8_t>(v >> 8);
        f[at + 1] = static_cast<std::uint8_t>(v);
    }
    /// The word that changes the checksum from `now` (with the word 0) to `target`.
    static unsigned one_complement_minus(unsigned now, unsigned target)
    {
        const unsigned sum = now + (0xFFFF - target);
        return (sum & 0xFFFF) + (sum >> 16);
    }

    std::mt19937_64 random_;
};

class ip4_check_test : public testing::TestWithParam<ip4_check_level>
{
protected:
    fib4 routes_{[](std::function<void()>) {}};
    std::unique_ptr<packet[]> packets_{new packet[burst_max]};
    rte_mbuf *pkts_[burst_max];
    ip4_burst burst_;

    void expect_packet(unsigned i)
    {
        const packet &p = packets_[i];
        ASSERT_EQ(burst_.fault[i] == 0, plain(p)) << "packet " << i << ": " << testing::PrintToString(p.bytes);
        ASSERT_EQ(burst_.pkt_len[i], p.mbuf.pkt_len);
        if (!plain(p)) {
            return;
        }
        const std::uint8_t *frame = p.bytes.data();
        ASSERT_EQ(burst_.frame[i], frame);
        ASSERT_EQ(burst_.dst[i], load_be32(frame + 30));
        ASSERT_EQ(burst_.nexthop[i], routes_.lookup(burst_.dst[i]));
        std::uint8_t next[20];
        std::copy(frame + 14, frame + 34, next);
        next[8]--;
        const std::uint16_t right = checksum(next);
        std::uint8_t word[4];
        std::memcpy(word, &burst_.ttl_word[i], 4);
        ASSERT_EQ(word[0], next[8]);
        ASSERT_EQ(word[1], next[9]);
        ASSERT_EQ(load_be16(word + 2), right) << "packet " << i << ": " << testing::PrintToString(p.bytes);
    }
};

TEST_P(ip4_check_test, agrees_with_a_plain_reading_of_the_rules)
{
    constexpr unsigned rounds = test::optimized ? 40'000 : 4'000;
    draw random(1812);
    unsigned sound = 0, faults = 0, longer = 0;
    for (std::uint32_t i = 1; i < 4000; i++) {
        routes_.insert(20U << 24 | random.below(1U << 24), 9 + i % 24, i); // shorter ones take long to paint
    }
    for (unsigned round = 0; round < rounds; round++) {
        const unsigned n = 1 + random.below(burst_max);
        bool all = true;
        std::uint64_t bytes = 0;
        for (unsigned i = 0; i < n; i++) {
            do {
                random.packet_into(packets_[i]);
            } while (round % 2 && !plain(packets_[i])); // otherwise hardly any burst would be without fault
            pkts_[i] = &packets_[i].mbuf;
            bytes += pkts_[i]->pkt_len;
            all &= plain(packets_[i]) && load_mac(packets_[i].bytes.data()) == our_mac && !trailed(packets_[i]);
        }
        ASSERT_EQ(GetParam().check(burst_, routes_, our_mac, pkts_, n), all);
        ASSERT_EQ(burst_.bytes, bytes);
        for (unsigned i = 0; i < n; i++) {
            ASSERT_NO_FATAL_FAILURE(expect_packet(i));
            faults += burst_.fault[i] != 0;
            longer += (routes_.begin(burst_.dst[i]) & fib4::extended) != 0;
        }
        sound += all;
    }
    EXPECT_GT(sound, rounds / 400);
    EXPECT_GT(longer, rounds / 40);
    EXPECT_GT(faults, rounds * 5 / 2);
}

INSTANTIATE_TEST_SUITE_P(levels, ip4_check_test,
                         testing::ValuesIn(ip4_check_levels().begin(), ip4_check_levels().end()),
                         [](const auto &level) {
                             std::string name = level.param.name;
                             std::erase(name, '.');
                             return name;
                         });

} // namespace
