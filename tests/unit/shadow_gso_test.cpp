// SPDX-License-Identifier: BSD-3-Clause
#include "netio/shadow/shadow_gso.hpp"

#include "flow_frames.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <memory>

namespace halfpoll
{
namespace
{

using test::bytes;
using test::flow_packet;

/// The packets of a frame, or nothing.
std::optional<std::vector<bytes>> cut(const vnet_header &header, const bytes &frame)
{
    // Exactly so much memory that a sanitizer sees what is read behind it.
    const auto copy = std::make_unique<std::uint8_t[]>(frame.size());
    std::copy(frame.begin(), frame.end(), copy.get());
    std::optional<wire_packets> packets = wire_packets::of(header, {copy.get(), frame.size()});
    if (!packets) {
        return std::nullopt;
    }
    std::vector<bytes> all;
    for (unsigned i = 0; i < packets->count(); ++i) {
        const wire_packets::packet p = packets->next();
        bytes &packet = all.emplace_back(p.headers.begin(), p.headers.end());
        packet.insert(packet.end(), p.payload.begin(), p.payload.end());
    }
    return all;
}

std::vector<bytes> just(const bytes &packet) { return std::vector<bytes>(1, packet); }

struct gso_case {
    const char *what;
    flow_packet frame;
    unsigned gso_size;
};

const std::vector<gso_case> cases = {
    {"TCP over IPv4", {.payload = 10'000}, 1448},
    {"a last packet that is whole", {.payload = 4344}, 1448},
    {"a last packet of one byte", {.payload = 1449}, 1448},
    {"an odd size", {.payload = 5000}, 333},
    {"the longest", {.id = 65530, .options = {}, .payload = 65535 - 40}, 1460},
    {"sequence numbers that wrap", {.sequence = 0xFFFFFF00, .payload = 3000}, 1000},
    {"PSH and FIN", {.flags = 0x19, .payload = 3000}, 1000},
    {"CWR and ECE", {.flags = 0xD0, .payload = 3000}, 1000},
    {"TOS, TTL, no DF", {.tos = 0xB9, .ttl = 3, .fragment = 0, .payload = 3000}, 1000},
    {"IPv4 options", {.extension = {1, 1, 1, 0}, .payload = 3000}, 1000},
    {"a VLAN tag", {.tags = 1, .payload = 3000}, 1000},
    {"two VLAN tags", {.tags = 2, .payload = 3000}, 1000},
    {"TCP over IPv6", {.ip4 = false, .flags = 0x18, .payload = 10'000}, 1428},
    {"TCP over IPv6, a VLAN tag", {.ip4 = false, .tags = 1, .tos = 0x12, .payload = 3000}, 999},
    {"TCP behind an extension header", {.ip4 = false, .extension = {0, 0, 1, 4, 0, 0, 0, 0}, .payload = 3000}, 1000},
    {"UDP over IPv4", {.tcp = false, .payload = 10'000}, 1472},
    {"UDP over IPv4, an odd size", {.tcp = false, .tags = 1, .payload = 3000}, 777},
    {"UDP over IPv6", {.ip4 = false, .tcp = false, .payload = 10'000}, 1452},
};

TEST(shadow_gso, cuts_a_frame_as_the_kernel_does)
{
    const test::segmenting_kernel kernel;
    for (const gso_case &c : cases) {
        const bytes frame = c.frame.frame(true);
        const vnet_header header = c.frame.header(c.gso_size);
        const std::optional<std::vector<bytes>> packets = cut(header, frame);
        ASSERT_TRUE(packets) << c.what;
        EXPECT_EQ(packets->size(), (c.frame.payload + c.gso_size - 1) / c.gso_size) << c.what;
        if (!kernel.write(header, frame)) {
            EXPECT_FALSE(c.frame.tcp) << c.what << ": Linux knows UDP since 6.2 only";
            continue;
        }
        EXPECT_TRUE(kernel.take(packets->size()) == *packets) << c.what;
    }
}

TEST(shadow_gso, any_sums_come_out_as_the_kernels)
{
    const test::segmenting_kernel kernel;
    for (unsigned i = 0; i < 300; ++i) { // each other payload
        const flow_packet p{
            .ip4 = i % 2 == 0, .sequence = i * 0x01234567, .payload = 1100 + i, .fill = static_cast<std::uint8_t>(i)};
        ASSERT_TRUE(kernel.write(p.header(550), p.frame(true)));
        const std::optional<std::vector<bytes>> packets = cut(p.header(550), p.frame(true));
        ASSERT_TRUE(packets);
        ASSERT_TRUE(kernel.take(packets->size()) == *packets) << i;
    }
}

TEST(shadow_gso, a_plain_frame_is_one_packet)
{
    const flow_packet p{.payload = 100};
    EXPECT_EQ(cut({}, p.frame()), just(p.frame()));
    vnet_header unfinished = p.header(0);
    unfinished.gso_type = vnet_header::GSO_NONE;
    EXPECT_EQ(cut(unfinished, p.frame(true)), just(p.frame())) << "its checksum is completed";
    EXPECT_EQ(cut({}, bytes{1, 2, 3}), just({1, 2, 3}));
}

TEST(shadow_gso, a_frame_that_is_too_small_to_be_cut_is_one_packet)
{
    for (const unsigned payload : {0U, 1U, 1000U}) {
        const flow_packet p{.payload = payload};
        EXPECT_EQ(cut(p.header(1000), p.frame(true)), just(p.frame())) << payload;
    }
}

struct malformed {
    const char *what;
    std::function<void(vnet_header &, bytes &)> change;
};

const std::vector<malformed> malformed_cases = {
    {"no size", [](vnet_header &h, bytes &) { h.gso_size = 0; }},
    {"no checksum offload", [](vnet_header &h, bytes &) { h.flags = 0; }},
    {"fragmentation of UDP", [](vnet_header &h, bytes &) { h.gso_type = 3; }},
    {"an unknown type", [](vnet_header &h, bytes &) { h.gso_type = 0x21; }},
    {"UDP with ECN", [](vnet_header &h, bytes &) { h.gso_type = vnet_header::GSO_UDP_L4 | vnet_header::GSO_ECN; }},
    {"the other family", [](vnet_header &h, bytes &) { h.gso_type = vnet_header::GSO_TCPV6; }},
    {"the other protocol", [](vnet_header &, bytes &f) { f[14 + 9] = 17; }},
    {"no IP packet", [](vnet_header &, bytes &f) { f[12] = 0x88; }},
    {"another field", [](vnet_header &h, bytes &) { h.csum_offset = 6; }},
    {"the transport header inside the IP header", [](vnet_header &h, bytes &) { h.csum_start = 33; }},
    {"the transport header behind the end", [](vnet_header &h, bytes &) { h.csum_start = 65000; }},
    {"an IP header of another length", [](vnet_header &, bytes &f) { f[14] = 0x46; }},
    {"a TCP header that is too short", [](vnet_header &, bytes &f) { f[34 + 12] = 0x40; }},
    {"a TCP header behind the end", [](vnet_header &, bytes &f) { f.resize(34 + 24); }},
};

TEST(shadow_gso, a_malformed_frame_is_refused)
{
    const flow_packet p{.payload = 3000};
    ASSERT_TRUE(cut(p.header(1000), p.frame(true)));
    for (const malformed &m : malformed_cases) {
        vnet_header header = p.header(1000);
        bytes frame = p.frame(true);
        m.change(header, frame);
        EXPECT_FALSE(cut(header, frame)) << m.what;
    }
}

TEST(shadow_gso, nothing_is_read_behind_a_frame)
{
    for (const flow_packet &p : {flow_packet{.payload = 3000}, flow_packet{.ip4 = false, .tcp = false, .tags = 1}}) {
        const bytes whole = p.frame(true);
        for (std::size_t length = 0; length <= whole.size(); ++length) {
            const bytes frame(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length));
            EXPECT_EQ(cut(p.header(100), frame).has_value(), length >= p.headers()) << length;
        }
    }
}

TEST(shadow_gso, a_checksum_is_completed_inside_the_frame)
{
    bytes f(20);
    EXPECT_TRUE(complete_checksum(f, 10, 8));
    EXPECT_FALSE(complete_checksum(f, 10, 9));
    EXPECT_FALSE(complete_checksum(f, 65535, 65535));
    f[10] = f[11] = 0xff; // the sum is 0
    f[18] = f[19] = 0;
    EXPECT_TRUE(complete_checksum(f, 10, 8));
    EXPECT_EQ(get16(&f[18]), 0xffff);
    f[18] = f[19] = 0;
    f.insert(f.end(), {1, 2, 3}); // the words 0x0102 and 0x0300
    EXPECT_TRUE(complete_checksum(f, 10, 8));
    EXPECT_EQ(get16(&f[18]), 0xffff ^ 0x0402);
}

} // namespace
} // namespace halfpoll
