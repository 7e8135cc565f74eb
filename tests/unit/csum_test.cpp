// SPDX-License-Identifier: BSD-3-Clause
// Completion of checksums that a sender left to the hardware, in every chain of headers that a software interface can
// deliver.
#include "netio/af_xdp/af_xdp_csum.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

namespace
{

using bytes = std::vector<std::uint8_t>;

void append_be(bytes &to, std::uint64_t value, unsigned octets)
{
    while (octets-- > 0) {
        to.push_back(static_cast<std::uint8_t>(value >> 8 * octets));
    }
}

/// Folded ones' complement sum of big-endian words (RFC 1071).
std::uint16_t sum_of(const bytes &data, std::size_t from = 0)
{
    std::uint64_t sum = 0;
    for (std::size_t i = from; i < data.size(); i++) {
        sum += (i - from) % 2 == 0 ? data[i] << 8 : data[i];
    }
    while (sum > 0xFFFF) {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    return static_cast<std::uint16_t>(sum);
}

/// CRC-32c, bit by bit (RFC 9260 appendix A).
std::uint32_t crc32c(const bytes &data)
{
    std::uint32_t crc = UINT32_MAX;
    for (const std::uint8_t octet : data) {
        crc ^= octet;
        for (unsigned bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (crc & 1 ? 0x82F63B78U : 0);
        }
    }
    return ~crc;
}

/// A packet that is built from the inside out; each checksum is correct over the parts inside.
class chain
{
public:
    /// Position of a checksum, counted from the end of the packet: headers that are put in front do not change it.
    struct field {
        std::size_t from_end;
        bytes unfinished;
    };

    explicit chain(std::size_t payload = 60)
    {
        for (std::size_t i = 0; i < payload; i++) {
            data_.push_back(static_cast<std::uint8_t>(i * 7 + 1));
        }
    }

    chain &tcp() { return layer4(6, {0x12, 0x34, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x10, 1, 0, 0, 0, 0, 0}, 16); }
    chain &udp(std::uint16_t port = 5000, bool checksum = true)
    {
        bytes header{0xC0, 0};
        append_be(header, port, 2);
        append_be(header, data_.size() + 8, 2);
        append_be(header, 0, 2);
        return layer4(17, header, checksum ? 6 : 0);
    }
    chain &sctp()
    {
        put(bytes{0x12, 0x34, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0});
        const std::uint32_t crc = crc32c(data_);
        std::memcpy(&data_[8], &crc, sizeof crc);
        fields_.push_back({data_.size() - 8, bytes(4, 0)});
        protocol_ = 132;
        return *this;
    }
    chain &ip4(unsigned options = 0, std::uint16_t fragment = 0x4000)
    {
        bytes header{static_cast<std::uint8_t>(0x45 + options), 0};
        append_be(header, data_.size() + 20 + options * 4, 2);
        append_be(header, 1, 2);
        append_be(header, fragment, 2);
        header.insert(header.end(), {64, protocol_, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2});
        header.resize(20 + options * 4, 1);
        const bytes source(header.begin() + 12, header.begin() + 16), to(header.begin() + 16, header.begin() + 20);
        store(header, 10, static_cast<std::uint16_t>(~sum_of(header)));
        finish_layer4(source, to);
        return announce(4, 0x0800, header);
    }
    /// `to`: last octet of the destination in the header. The checksums cover `final` as that octet.
    chain &ip6(std::uint8_t to = 2, std::uint8_t final = 2)
    {
        bytes header{0x60, 0, 0, 0};
        append_be(header, data_.size(), 2);
        header.insert(header.end(), {protocol_, 64});
        const bytes source = address(1), destination = address(to);
        header.insert(header.end(), source.begin(), source.end());
        header.insert(header.end(), destination.begin(), destination.end());
        finish_layer4(source, address(final));
        return announce(41, 0x86DD, header);
    }
    /// Adds an extension header of any kind; `rest` follows its first two octets.
    chain &extension(std::uint8_t kind, bytes rest)
    {
        bytes header{protocol_, static_cast<std::uint8_t>((rest.size() + 2) / 8 - 1)};
        header.insert(header.end(), rest.begin(), rest.end());
        return announce(kind, 0, header);
    }
    /// Adds a routing header. Segments are given by their last octets, in the order of the header.
    chain &routing(std::uint8_t type, std::uint8_t left, std::initializer_list<std::uint8_t> segments)
    {
        bytes rest{type, left, 0, 0, 0, 0};
        for (const std::uint8_t last : segments) {
            const bytes segment = address(last);
            rest.insert(rest.end(), segment.begin(), segment.end());
        }
        return extension(43, rest);
    }
    chain &ethernet(std::initializer_list<std::uint16_t> tags = {})
    {
        bytes header{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1};
        for (const std::uint16_t tag : tags) {
            append_be(header, tag, 2);
            append_be(header, 7, 2);
        }
        append_be(header, type_, 2);
        return announce(143, 0x6558, header);
    }
    chain &mpls(std::initializer_list<std::uint32_t> labels)
    {
        bytes header;
        for (const std::uint32_t label : labels) {
            append_be(header, label << 12 | 64 | (header.size() / 4 + 1 == labels.size() ? 0x100U : 0), 4);
        }
        return announce(137, 0x8847, header);
    }
    chain &gre(std::uint16_t flags)
    {
        bytes header;
        append_be(header, flags, 2);
        append_be(header, type_, 2);
        for (const unsigned bit : {15, 13, 12}) {
            append_be(header, bit == 15 ? 0 : 0x01020304, flags >> bit & 1 ? 4 : 0);
        }
        announce(47, 0, header);
        if (flags & 0x8000) {
            store(data_, 4, static_cast<std::uint16_t>(~sum_of(data_)));
            fields_.push_back({data_.size() - 4, bytes(2, 0)});
        }
        return *this;
    }
    /// Adds a header that does not state its payload's type, or states it in `header`.
    chain &raw(const bytes &header, std::uint16_t type = 0) { return announce(0, type, header); }
    chain &vxlan() { return raw({8, 0, 0, 0, 0, 0, 5, 0}); }
    chain &geneve(unsigned options = 0)
    {
        bytes header{static_cast<std::uint8_t>(options), 0};
        append_be(header, type_, 2);
        header.insert(header.end(), {0, 0, 9, 0});
        header.resize(8 + options * 4, 0xA5);
        return raw(header);
    }
    chain &gue() { return raw({0, protocol_, 0, 0}); }

    const bytes &data() const { return data_; }
    /// The checksums, innermost first.
    const std::vector<field> &fields() const { return fields_; }

    /// The packet with one checksum unfinished.
    bytes unfinished(std::size_t which) const
    {
        bytes copy = data_;
        const field &f = fields_[which];
        std::copy(f.unfinished.begin(), f.unfinished.end(), copy.end() - static_cast<std::ptrdiff_t>(f.from_end));
        return copy;
    }

private:
    static bytes address(std::uint8_t last) { return {0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x77, last}; }
    static void store(bytes &to, std::size_t at, std::uint16_t value)
    {
        to[at] = static_cast<std::uint8_t>(value >> 8);
        to[at + 1] = static_cast<std::uint8_t>(value);
    }

    void put(const bytes &header) { data_.insert(data_.begin(), header.begin(), header.end()); }
    chain &announce(std::uint8_t protocol, std::uint16_t type, const bytes &header)
    {
        put(header);
        protocol_ = protocol;
        type_ = type;
        return *this;
    }
    chain &layer4(std::uint8_t protocol, const bytes &header, std::size_t checksum)
    {
        put(header);
        protocol_ = layer4_ = protocol;
        layer4_field_ = checksum;
        layer4_size_ = data_.size();
        return *this;
    }
    void finish_layer4(const bytes &source, const bytes &destination)
    {
        if (layer4_field_ == 0) {
            return;
        }
        bytes pseudo = source;
        pseudo.insert(pseudo.end(), destination.begin(), destination.end());
        append_be(pseudo, layer4_size_, 4);
        append_be(pseudo, layer4_, 4);
        const std::uint16_t unfinished = sum_of(pseudo);
        const std::size_t header = data_.size() - layer4_size_;
        const std::uint32_t sum = unfinished + sum_of(data_, header);
        const auto right = static_cast<std::uint16_t>(~((sum & 0xFFFF) + (sum >> 16)));
        store(data_, header + layer4_field_, right == 0 ? 0xFFFF : right);
        fields_.push_back({layer4_size_ - layer4_field_,
                           {static_cast<std::uint8_t>(unfinished >> 8), static_cast<std::uint8_t>(unfinished)}});
        layer4_field_ = 0;
    }

    bytes data_;
    std::vector<field> fields_;
    /// Protocol of the bytes that data_ begins with, and of the last TCP or UDP header.
    std::uint8_t protocol_ = 59, layer4_ = 0;
    std::uint16_t type_ = 0x88B5;
    std::size_t layer4_field_ = 0, layer4_size_ = 0;
};

/// Completes a frame in memory of exactly its size, so that a sanitizer detects an access beyond it.
bytes completed(const bytes &frame)
{
    const auto copy = std::make_unique<std::uint8_t[]>(frame.size());
    std::copy(frame.begin(), frame.end(), copy.get());
    halfpoll::complete_partial_checksum(copy.get(), static_cast<std::uint32_t>(frame.size()));
    return {copy.get(), copy.get() + frame.size()};
}

chain inner_frame() { return chain().tcp().ip4().ethernet(); }

struct named {
    const char *name;
    std::function<chain()> make;
};

const bytes pad_option{1, 4, 0, 0, 0, 0};

const std::vector<named> chains{
    {"tcp4", [] { return chain().tcp().ip4().ethernet(); }},
    {"udp4", [] { return chain().udp().ip4().ethernet(); }},
    {"udp4_empty", [] { return chain(0).udp().ip4().ethernet(); }},
    {"tcp4_odd", [] { return chain(61).tcp().ip4().ethernet(); }},
    {"tcp4_options", [] { return chain().tcp().ip4(3).ethernet(); }},
    {"tcp6", [] { return chain().tcp().ip6().ethernet(); }},
    {"udp6", [] { return chain().udp().ip6().ethernet(); }},
    {"sctp4", [] { return chain().sctp().ip4().ethernet(); }},
    {"sctp6_vlan", [] { return chain().sctp().ip6().ethernet({0x8100}); }},
    {"vlan", [] { return chain().tcp().ip4().ethernet({0x8100}); }},
    {"qinq",
     [] {
         return chain().udp().ip6().ethernet({0x88A8, 0x8100});
     }},
    {"three_tags",
     [] {
         return chain().tcp().ip4().ethernet({0x88A8, 0x8100, 0x8100});
     }},
    {"mpls", [] { return chain().tcp().ip4().mpls({100}).ethernet(); }},
    {"mpls_stack_ip6",
     [] {
         return chain().udp().ip6().mpls({100, 200, 300}).ethernet({0x8100});
     }},
    {"hsr",
     [] {
         return chain().tcp().ip4().raw({0, 60, 0, 1, 8, 0}, 0x892F).ethernet();
     }},
    {"nsh",
     [] {
         return chain().tcp().ip4().raw({0, 2, 2, 1, 0, 0, 0, 0}, 0x894F).ethernet();
     }},

    {"destination_options", [] { return chain().tcp().extension(60, pad_option).ip6().ethernet(); }},
    {"hop_by_hop", [] { return chain().udp().extension(0, pad_option).ip6().ethernet(); }},
    {"all_options",
     [] {
         return chain()
             .tcp()
             .extension(60, pad_option)
             .routing(4, 0, {9})
             .extension(60, pad_option)
             .extension(0, pad_option)
             .ip6()
             .ethernet();
     }},
    {"srv6_inline",
     [] {
         return chain().tcp().routing(4, 2, {9, 8, 7}).ip6(7, 9).ethernet();
     }},
    {"srv6_inline_last",
     [] {
         return chain().tcp().routing(4, 0, {9, 8, 7}).ip6(9, 9).ethernet();
     }},
    {"route_type_0",
     [] {
         return chain().udp().routing(0, 2, {8, 9}).ip6(7, 9).ethernet();
     }},
    {"mobile_home_address", [] { return chain().tcp().routing(2, 1, {9}).ip6(7, 9).ethernet(); }},
    {"rpl",
     [] { // addresses that share 15 octets with the destination, and six octets of padding
         return chain().tcp().extension(43, {3, 2, 0xFF, 0x60, 0, 0, 8, 9, 0, 0, 0, 0, 0, 0}).ip6(7, 9).ethernet();
     }},
    {"srv6_encap_ip6",
     [] {
         return chain().tcp().ip6().routing(4, 1, {9, 7}).ip6(7, 9).ethernet();
     }},
    {"srv6_encap_ip4",
     [] {
         return chain().udp().ip4().routing(4, 1, {9, 7}).ip6(7, 9).ethernet();
     }},
    {"srv6_encap_frame",
     [] {
         return inner_frame().routing(4, 1, {9, 7}).ip6(7, 9).ethernet();
     }},
    {"srv6_reduced", [] { return chain().tcp().ip6().ip6(7).ethernet(); }},

    {"ipip", [] { return chain().tcp().ip4().ip4().ethernet(); }},
    {"sit", [] { return chain().udp().ip6().ip4().ethernet(); }},
    {"ip4_in_ip6_limit",
     [] {
         return chain().tcp().ip4().extension(60, {4, 1, 4, 1, 1, 0}).ip6().ethernet();
     }},
    {"mpls_in_ip4", [] { return chain().tcp().ip4().mpls({16}).ip4().ethernet(); }},
    {"ipip_thrice", [] { return chain().tcp().ip6().ip4().ip4().ip6().ethernet({0x8100}); }},
    {"gre", [] { return chain().tcp().ip4().gre(0).ip4().ethernet(); }},
    {"gre_key_sequence", [] { return chain().udp().ip6().gre(0x3000).ip4().ethernet(); }},
    {"gre_checksum", [] { return chain().tcp().ip4().gre(0x8000).ip4().ethernet(); }},
    {"gre_checksum_key_sequence", [] { return chain().tcp().ip4().gre(0xB000).ip6().ethernet(); }},
    {"gretap", [] { return inner_frame().gre(0x2000).ip4().ethernet(); }},
    {"gretap_checksum_vlan", [] { return chain().udp().ip4().ethernet({0x8100}).gre(0x8000).ip4().ethernet(); }},
    {"gre_mpls",
     [] {
         return chain().tcp().ip4().mpls({5, 6}).gre(0).ip4().ethernet();
     }},
    {"erspan_1", [] { return inner_frame().raw({}, 0x88BE).gre(0).ip4().ethernet(); }},
    {"erspan_2",
     [] {
         return inner_frame().raw({0x10, 0, 0, 5, 0, 0, 0, 1}, 0x88BE).gre(0x1000).ip4().ethernet();
     }},
    {"erspan_3", [] { return inner_frame().raw(bytes(12, 0x20), 0x22EB).gre(0x1000).ip6().ethernet(); }},

    {"vxlan", [] { return inner_frame().vxlan().udp(4789).ip4().ethernet(); }},
    {"vxlan_no_checksum", [] { return inner_frame().vxlan().udp(4789, false).ip4().ethernet(); }},
    {"vxlan_any_port", [] { return inner_frame().vxlan().udp(31337).ip4().ethernet(); }},
    {"vxlan_ip6", [] { return chain().udp().ip6().ethernet().vxlan().udp(8472).ip6().ethernet(); }},
    {"vxlan_ip6_no_checksum", [] { return inner_frame().vxlan().udp(8472, false).ip6().ethernet(); }},
    {"vxlan_policy",
     [] {
         return inner_frame().raw({0x88, 8, 1, 2, 0, 0, 5, 0}).udp(4789).ip4().ethernet();
     }},
    {"vxlan_gpe_ip6",
     [] {
         return chain().tcp().ip6().raw({0x0C, 0, 0, 2, 0, 0, 5, 0}).udp(4790).ip4().ethernet();
     }},
    {"vxlan_inner_qinq",
     [] {
         return chain().tcp().ip4().ethernet({0x88A8, 0x8100}).vxlan().udp(4789).ip4().ethernet({0x88A8, 0x8100});
     }},
    {"vxlan_in_vxlan",
     [] { return inner_frame().vxlan().udp(4789).ip4().ethernet().vxlan().udp(4789).ip4().ethernet(); }},
    {"vxlan_inner_mpls", [] { return chain().tcp().ip4().mpls({9}).ethernet().vxlan().udp(4789).ip4().ethernet(); }},
    {"geneve", [] { return inner_frame().geneve().udp(6081).ip4().ethernet(); }},
    {"geneve_options", [] { return inner_frame().geneve(5).udp(6081).ip6().ethernet(); }},
    {"geneve_ip", [] { return chain().udp().ip6().geneve(1).udp(6081, false).ip4().ethernet(); }},
    {"fou_ipip", [] { return chain().tcp().ip4().udp(5555).ip4().ethernet(); }},
    {"fou_sit_no_checksum", [] { return chain().tcp().ip6().udp(5555, false).ip4().ethernet(); }},
    {"fou_gre", [] { return chain().tcp().ip4().gre(0xA000).udp(5555).ip4().ethernet(); }},
    {"fou_gretap", [] { return inner_frame().gre(0).udp(5555).ip4().ethernet(); }},
    {"gue_ipip", [] { return chain().tcp().ip4().gue().udp(6080).ip4().ethernet(); }},
    {"gue_gre", [] { return chain().udp().ip4().gre(0x8000).gue().udp(6080).ip6().ethernet(); }},
    {"mpls_in_udp",
     [] {
         return chain().tcp().ip4().mpls({77, 78}).udp(6635).ip4().ethernet();
     }},
    {"vxlan_over_srv6",
     [] {
         return inner_frame().vxlan().udp(4789).routing(4, 1, {9, 7}).ip6(7, 9).ethernet();
     }},
};

class csum : public testing::TestWithParam<named>
{
};

/// One checksum at a time is unfinished; the checksums around it are those of the finished packet.
TEST_P(csum, is_completed)
{
    const chain c = GetParam().make();
    ASSERT_FALSE(c.fields().empty());
    EXPECT_EQ(completed(c.data()), c.data()) << "it was finished";
    for (std::size_t i = 0; i < c.fields().size(); i++) {
        EXPECT_EQ(completed(c.unfinished(i)), c.data()) << "field " << i << ", from the inside";
    }
}

TEST_P(csum, of_a_frame_that_ends_anywhere_reads_no_further)
{
    const chain c = GetParam().make();
    for (std::size_t i = 0; i < c.fields().size(); i++) {
        const bytes frame = c.unfinished(i);
        for (std::size_t length = 0; length < frame.size(); length++) {
            const bytes part(frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(length));
            ASSERT_EQ(completed(part), part) << length;
        }
    }
}

TEST_P(csum, with_bytes_behind_the_packet)
{
    const chain c = GetParam().make();
    bytes frame = c.unfinished(0), expected = c.data();
    frame.insert(frame.end(), 17, 0xEE);
    expected.insert(expected.end(), 17, 0xEE);
    EXPECT_EQ(completed(frame), expected);
}

INSTANTIATE_TEST_SUITE_P(all, csum, testing::ValuesIn(chains),
                         [](const auto &chain_of) { return chain_of.param.name; });

/// An application sends frames with unfinished checksums as its data (a capture, for example). Its own checksum covers
/// them as they are.
TEST(csum_payload, is_left_alone)
{
    const chain inner = inner_frame();
    chain outer(0);
    outer.raw(inner.unfinished(0)).vxlan().udp(4789).ip4().ethernet();
    EXPECT_EQ(completed(outer.data()), outer.data());
    EXPECT_EQ(completed(outer.unfinished(0)), outer.data()) << "the outer one";
}

/// The receiver completes the inner checksum, as the tunnel's header requests.
TEST(csum_remote_offload, is_left_alone)
{
    for (const bool checksum : {false, true}) {
        const bytes inner = chain().tcp().ip4().ethernet().unfinished(0);
        chain vxlan(0), gue(0);
        vxlan.raw(inner).raw({8, 0x20, 0, 0, 0, 0, 5, 0x19}).udp(4789, checksum).ip4().ethernet();
        EXPECT_EQ(completed(vxlan.data()), vxlan.data());
        const bytes packet = chain().tcp().ip4().unfinished(0);
        gue.raw(packet).raw({2, 4, 0, 1, 0x80, 0, 0, 0, 0, 20, 0, 36}).udp(6080, checksum).ip4().ethernet();
        EXPECT_EQ(completed(gue.data()), gue.data());
    }
}

TEST(csum_fragment, is_left_alone)
{
    const chain first = chain().tcp().ip4(0, 0x2000).ethernet(), last = chain().tcp().ip4(0, 0x0010).ethernet();
    EXPECT_EQ(completed(first.unfinished(0)), first.unfinished(0));
    EXPECT_EQ(completed(last.unfinished(0)), last.unfinished(0));
    const chain six = chain().tcp().extension(44, {0, 1, 0, 0, 0, 1}).ip6().ethernet();
    EXPECT_EQ(completed(six.unfinished(0)), six.unfinished(0));
}

/// With more layers than the code tracks, the packet stays unchanged instead of becoming wrong, and the parser
/// terminates.
TEST(csum_depth, is_bounded)
{
    chain deep = chain().tcp().ip4();
    for (unsigned i = 0; i < 12; i++) {
        deep.gre(0x8000).ip4();
    }
    deep.ethernet();
    EXPECT_EQ(completed(deep.unfinished(0)), deep.unfinished(0));
    chain options = chain().tcp();
    for (unsigned i = 0; i < 100; i++) {
        options.extension(60, pad_option);
    }
    options.ip6().ethernet();
    EXPECT_EQ(completed(options.unfinished(0)), options.unfinished(0));
}

/// A checksum that looks unfinished but is correct stays unchanged: here TCP's, because of the payload.
TEST(csum_right_by_chance, is_not_changed)
{
    const chain plain = chain(2).tcp().ip4().ethernet();
    bytes frame = plain.unfinished(0);
    const bytes expected = plain.data();
    // Payload +x changes the correct checksum by -x: here from the correct one to the value of an unfinished one.
    const std::size_t at = frame.size() - 2, field = frame.size() - 6;
    auto word = [](const bytes &b, std::size_t i) { return static_cast<std::uint32_t>(b[i] << 8 | b[i + 1]); };
    std::uint32_t x = word(expected, field) + (0xFFFF - word(frame, field)) + word(frame, at);
    x = (x & 0xFFFF) + (x >> 16);
    x = (x & 0xFFFF) + (x >> 16);
    frame[at] = static_cast<std::uint8_t>(x >> 8);
    frame[at + 1] = static_cast<std::uint8_t>(x);
    EXPECT_EQ(completed(frame), frame);
}

} // namespace
