// SPDX-License-Identifier: BSD-3-Clause
#include "netio/shadow/shadow_gro.hpp"

#include "flow_frames.hpp"

#include <gtest/gtest.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>

#include <functional>
#include <memory>
#include <random>

namespace halfpoll
{
namespace
{

using test::bytes;
using test::flow_packet;

constexpr gro_kinds all_kinds{.tcp = true, .udp = true};

class shadow_gro_test : public testing::Test
{
protected:
    shadow_gro_test()
        : pool_(rte_pktmbuf_pool_create("shadow_gro_test", 511, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY))
    {
        if (pool_ == nullptr) {
            throw std::runtime_error("no pool");
        }
    }
    ~shadow_gro_test() override
    {
        clear();
        EXPECT_EQ(rte_mempool_avail_count(pool_), 511U);
        rte_mempool_free(pool_);
    }

    void clear()
    {
        batch_->clear();
        rte_pktmbuf_free_bulk(mbufs_.data(), static_cast<unsigned>(mbufs_.size()));
        mbufs_.clear();
    }
    /// Adds a packet; `cut`: bytes in its first segment, if it has two.
    void add(const bytes &f, gro_kinds kinds = all_kinds, void *to = nullptr, std::size_t cut = 0)
    {
        rte_mbuf *m = part_of(f, 0, cut != 0 ? cut : f.size());
        if (cut != 0) {
            rte_pktmbuf_chain(m, part_of(f, cut, f.size()));
        }
        batch_->add(*mbufs_.emplace_back(m), to, kinds);
    }
    void add(const std::vector<flow_packet> &packets)
    {
        for (const flow_packet &p : packets) {
            add(p.frame());
        }
    }
    /// How many packets each frame stands for.
    std::vector<unsigned> packets() const
    {
        std::vector<unsigned> counts;
        for (unsigned i = 0; i < batch_->frames(); ++i) {
            counts.push_back(batch_->packets(i));
        }
        return counts;
    }
    /// The bytes of a frame, without the header in front of it.
    bytes frame(unsigned index, vnet_header *header = nullptr)
    {
        bytes f;
        const std::span<const iovec> parts = batch_->gather(index);
        for (const iovec &part : parts.subspan(1)) {
            const auto *data = static_cast<const std::uint8_t *>(part.iov_base);
            f.insert(f.end(), data, data + part.iov_len);
        }
        if (header != nullptr) {
            std::memcpy(header, parts[0].iov_base, sizeof *header);
        }
        return f;
    }

    rte_mempool *pool_;
    std::vector<rte_mbuf *> mbufs_;
    std::unique_ptr<gro_batch> batch_ = std::make_unique<gro_batch>();

private:
    rte_mbuf *part_of(const bytes &f, std::size_t from, std::size_t to)
    {
        rte_mbuf *m = rte_pktmbuf_alloc(pool_);
        std::memcpy(rte_pktmbuf_append(m, static_cast<std::uint16_t>(to - from)), f.data() + from, to - from);
        return m;
    }
};

std::vector<flow_packet> flow(flow_packet first, unsigned n)
{
    std::vector<flow_packet> packets{first};
    while (packets.size() < n) {
        packets.push_back(packets.back().next());
    }
    return packets;
}

// ---- what is merged ----

struct gro_case {
    const char *what;
    flow_packet first;
    std::function<void(std::vector<flow_packet> &)> change; ///< of four packets that follow each other
    std::vector<unsigned> want;
};

using packet_list = std::vector<flow_packet>;
constexpr auto unchanged = [](packet_list &) {};

const std::vector<gro_case> cases = {
    {"TCP over IPv4", {}, unchanged, {4}},
    {"TCP over IPv6", {.ip4 = false}, unchanged, {4}},
    {"UDP over IPv4", {.tcp = false}, unchanged, {4}},
    {"UDP over IPv6", {.ip4 = false, .tcp = false}, unchanged, {4}},
    {"a VLAN", {.tags = 1}, unchanged, {4}},
    {"two tags", {.ip4 = false, .tags = 2}, unchanged, {4}},
    {"may be fragmented", {.fragment = 0}, unchanged, {4}},
    {"numbers that wrap", {.id = 65534, .sequence = 0xFFFFFFF0}, unchanged, {4}},
    {"a shorter last packet", {}, [](packet_list &p) { p[3].payload = 1; }, {4}},
    {"a shorter packet ends a frame", {.tcp = false}, [](packet_list &p) { p[1].payload = 500; }, {2, 2}},
    {"a longer packet begins a frame",
     {.tcp = false},
     [](packet_list &p) { p[2].payload = p[3].payload = 1200; },
     {2, 2}},
    {"PSH ends a frame", {}, [](packet_list &p) { p[1].flags = 0x18; }, {2, 2}},
    {"FIN ends a frame", {}, [](packet_list &p) { p[3].flags = 0x11; }, {4}},
    {"PSH in all", {.flags = 0x18}, unchanged, {1, 1, 1, 1}},
    {"CWR", {}, [](packet_list &p) { p[0].flags = 0x90; }, {1, 3}},
    {"ECE", {}, [](packet_list &p) { p[2].flags = p[3].flags = 0x50; }, {2, 2}},
    {"URG", {}, [](packet_list &p) { p[1].flags = 0x30; }, {1, 1, 2}},
    {"RST", {}, [](packet_list &p) { p[3].flags = 0x14; }, {3, 1}},
    {"SYN", {}, [](packet_list &p) { p[0].flags = 0x02; }, {1, 3}},
    {"another acknowledgment", {}, [](packet_list &p) { p[1].ack = 99; }, {1, 1, 2}},
    {"another window", {}, [](packet_list &p) { p[3].window = 99; }, {3, 1}},
    {"another urgent pointer", {}, [](packet_list &p) { p[3].urgent = 1; }, {3, 1}},
    {"another time stamp", {}, [](packet_list &p) { p[1].options[7] = p[2].options[7] = p[3].options[7] = 9; }, {1, 3}},
    {"other options", {}, [](packet_list &p) { p[1].options.clear(); }, {1, 1, 2}},
    {"a gap", {}, [](packet_list &p) { p[2].sequence++, p[3].sequence++; }, {2, 2}},
    {"the other order", {}, [](packet_list &p) { std::swap(p[1], p[2]); }, {1, 1, 1, 1}},
    {"nothing but an acknowledgment", {}, [](packet_list &p) { p[1].payload = 0; }, {1, 1, 2}},
    {"the same identification", {}, [](packet_list &p) { p[1].id = p[2].id = p[3].id = 1; }, {1, 1, 1, 1}},
    {"a gap in the identifications", {}, [](packet_list &p) { p[2].id += 5, p[3].id += 5; }, {2, 2}},
    {"another TTL", {.tcp = false}, [](packet_list &p) { p[1].ttl = 63; }, {1, 1, 2}},
    {"another hop limit", {.ip4 = false}, [](packet_list &p) { p[1].ttl = 63; }, {1, 1, 2}},
    {"another TOS", {}, [](packet_list &p) { p[1].tos = 1; }, {1, 1, 2}},
    {"another class", {.ip4 = false}, [](packet_list &p) { p[1].tos = 1; }, {1, 1, 2}},
    {"another DF", {}, [](packet_list &p) { p[1].fragment = 0; }, {1, 1, 2}},
    {"a TTL that ends here", {.ttl = 1}, unchanged, {1, 1, 1, 1}},
    {"a hop limit that ends here", {.ip4 = false, .ttl = 1}, unchanged, {1, 1, 1, 1}},
    {"the reserved bit", {.fragment = 0xC000}, unchanged, {1, 1, 1, 1}},
    {"IPv4 options", {.extension = {1, 1, 1, 0}}, unchanged, {1, 1, 1, 1}},
    {"an extension header", {.ip4 = false, .extension = {0, 0, 1, 4, 0, 0, 0, 0}}, unchanged, {1, 1, 1, 1}},
    {"another VLAN", {.tags = 1}, [](packet_list &p) { p[2].tags = p[3].tags = 0; }, {2, 2}},
};

TEST_F(shadow_gro_test, merges_by_the_rules)
{
    for (const gro_case &c : cases) {
        packet_list p = flow(c.first, 4);
        c.change(p);
        add(p);
        EXPECT_EQ(packets(), c.want) << c.what;
        clear();
    }
}

TEST_F(shadow_gro_test, a_packet_that_is_not_merged_stays_as_it_is)
{
    for (const gro_case &c : cases) {
        packet_list p = flow(c.first, 4);
        c.change(p);
        add(p);
        for (unsigned i = 0; i < batch_->frames(); ++i) {
            vnet_header header;
            const bytes f = frame(i, &header);
            EXPECT_EQ(header.gso_type != 0, batch_->packets(i) > 1) << c.what;
            if (batch_->packets(i) == 1) {
                EXPECT_TRUE(std::ranges::any_of(p, [&](const flow_packet &each) { return each.frame() == f; }))
                    << c.what;
            }
        }
        clear();
    }
}

TEST_F(shadow_gro_test, only_what_is_allowed_is_merged)
{
    for (const bool tcp : {true, false}) {
        for (const flow_packet &p : flow({.tcp = tcp}, 3)) {
            add(p.frame(), {.tcp = !tcp, .udp = tcp});
        }
        EXPECT_EQ(packets(), (std::vector{1U, 1U, 1U}));
        clear();
    }
}

TEST_F(shadow_gro_test, interfaces_are_apart)
{
    int a, b;
    const std::vector<flow_packet> p = flow({}, 4);
    add(p[0].frame(), all_kinds, &a);
    add(p[1].frame(), all_kinds, &b);
    add(p[1].frame(), all_kinds, &a);
    add(p[2].frame(), all_kinds, &b);
    EXPECT_EQ(packets(), (std::vector{2U, 2U}));
    EXPECT_EQ(batch_->to(0), &a);
    EXPECT_EQ(batch_->to(1), &b);
}

TEST_F(shadow_gro_test, wrong_checksums_and_padding_are_left_to_the_kernel)
{
    const std::vector<flow_packet> p = flow({}, 3);
    const unsigned places[] = {14 + 8, 14 + 10, 34 + 16, 34 + 40, 34 + 600}; // what is changed in the second packet
    for (const unsigned at : places) {
        bytes wrong = p[1].frame();
        wrong[at] ^= 1;
        add(p[0].frame());
        add(wrong);
        add(p[2].frame());
        EXPECT_EQ(packets(), (std::vector{1U, 1U, 1U})) << at;
        EXPECT_EQ(frame(1), wrong);
        clear();
    }
    bytes first = p[0].frame(), padded = p[1].frame();
    first[700] ^= 1;
    padded.push_back(0);
    add(first);
    add(padded);
    add(p[2].frame());
    EXPECT_EQ(packets(), (std::vector{1U, 1U, 1U}));
}

// Segmentation writes one of the two values that stand for zero.
TEST_F(shadow_gro_test, a_checksum_of_zero_comes_back_or_is_not_merged)
{
    std::vector<flow_packet> p = flow({.options = {}}, 2);
    for (; get16(&p[1].frame()[34 + 16]) != 0; ++p[0].ack, ++p[1].ack) {
    }
    bytes other = p[1].frame();
    other[34 + 16] = other[34 + 17] = 0xFF;
    add(p[0].frame());
    add(p[1].frame());
    EXPECT_EQ(packets(), (std::vector{2U}));
    clear();
    add(p[0].frame());
    add(other);
    EXPECT_EQ(packets(), (std::vector{1U, 1U}));
}

TEST_F(shadow_gro_test, udp_without_a_checksum_is_not_merged)
{
    for (const flow_packet &p : flow({.tcp = false}, 2)) {
        bytes f = p.frame();
        f[34 + 6] = f[34 + 7] = 0;
        add(f);
    }
    EXPECT_EQ(packets(), (std::vector{1U, 1U}));
}

TEST_F(shadow_gro_test, a_frame_is_no_longer_than_an_ip_packet_can_be)
{
    const std::vector<flow_packet> p = flow({.options = {}, .payload = 3800}, 20);
    for (const flow_packet &each : p) {
        add(each.frame(), all_kinds, nullptr, 1900); // in segments
        rte_mbuf *m = mbufs_.back();
        ASSERT_EQ(m->pkt_len, 3854U);
    }
    EXPECT_EQ(packets(), (std::vector{17U, 3U}));
}

// ---- order ----

TEST_F(shadow_gro_test, packets_of_a_flow_keep_their_order)
{
    const std::vector<flow_packet> p = flow({}, 4);
    flow_packet fragment = p[1];
    fragment.fragment = 0x2000;
    flow_packet stranger = p[1];
    stranger.port = 9;
    stranger.payload = 0;
    add(p[0].frame());
    add(stranger.frame());
    add(p[1].frame()); // another flow is no hindrance
    EXPECT_EQ(packets(), (std::vector{2U, 1U}));
    clear();
    add(p[0].frame());
    add(fragment.frame()); // may belong to the flow
    add(p[1].frame());
    EXPECT_EQ(packets(), (std::vector{1U, 1U, 1U}));
}

TEST_F(shadow_gro_test, what_is_no_ip_packet_is_a_frame_of_its_own)
{
    for (const std::size_t length : {1U, 13U, 14U, 20U, 33U, 34U, 37U, 40U, 53U, 54U, 60U}) {
        bytes f = flow_packet{}.frame();
        f.resize(length);
        add(f);
        EXPECT_EQ(frame(batch_->frames() - 1), f);
    }
    EXPECT_EQ(batch_->frames(), 11U);
}

// ---- the kernel makes the same packets of a merged frame ----

TEST_F(shadow_gro_test, the_kernel_makes_the_same_packets_of_merged_frames)
{
    const test::segmenting_kernel kernel;
    for (const gro_case &c : cases) {
        std::vector<flow_packet> p = flow(c.first, 4);
        c.change(p);
        add(p);
        std::vector<bytes> sent;
        std::ranges::transform(p, std::back_inserter(sent), [](const flow_packet &each) { return each.frame(); });
        for (unsigned i = 0; i < batch_->frames(); ++i) {
            ASSERT_TRUE(kernel.write(batch_->gather(i)) || !c.first.tcp) << c.what;
        }
        EXPECT_TRUE(kernel.take(sent.size()) == sent) << c.what;
        clear();
    }
}

TEST_F(shadow_gro_test, the_kernel_makes_the_same_packets_of_random_flows)
{
    const test::segmenting_kernel kernel;
    std::minstd_rand random(7);
    const auto one_in = [&](unsigned n) { return random() % n == 0; };
    unsigned merged = 0;
    for (unsigned round = 0; round < 500; ++round) {
        const unsigned size = 8 + random() % 1400;
        flow_packet p{.ip4 = !one_in(2),
                      .tags = one_in(3) ? 1U : 0U,
                      .id = static_cast<std::uint16_t>(random()),
                      .sequence = static_cast<std::uint32_t>(random() * 3),
                      .payload = size,
                      .fill = static_cast<std::uint8_t>(random())};
        std::vector<bytes> sent;
        for (unsigned i = 0; i < 24; ++i) {
            p.payload = one_in(6) ? 1 + random() % 1400 : size;
            p.flags = one_in(8) ? 0x18 : one_in(12) ? 0xD0 : 0x10;
            p.ack += one_in(12) ? 1 : 0;
            p.id = static_cast<std::uint16_t>(p.id + (one_in(12) ? 1 : 0));
            const bytes f = sent.emplace_back(p.frame());
            add(f, all_kinds, nullptr, one_in(4) ? f.size() - random() % p.payload : 0);
            p = p.next();
        }
        for (unsigned i = 0; i < batch_->frames(); ++i) {
            merged += batch_->packets(i) - 1;
            ASSERT_TRUE(kernel.write(batch_->gather(i)));
        }
        ASSERT_TRUE(kernel.take(sent.size()) == sent) << round;
        clear();
    }
    EXPECT_GT(merged, 2000U);
}

} // namespace
} // namespace halfpoll
