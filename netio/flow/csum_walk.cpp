// SPDX-License-Identifier: BSD-3-Clause
#include "csum_walk.hpp"

#include "flow_dissect.hpp"
#include "udp_tunnel.hpp"

#include <rte_byteorder.h>
#include <rte_hash_crc.h>
#include <rte_ip.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <netinet/in.h>

namespace halfpoll
{
namespace
{

constexpr unsigned MOST_HEADERS = 24;
constexpr std::uint32_t TCP_CHECKSUM = 16, UDP_CHECKSUM = 6, SCTP_CHECKSUM = 8, GRE_CHECKSUM = 4;

std::uint16_t fold(std::uint32_t sum) noexcept
{
    sum = (sum & 0xFFFF) + (sum >> 16);
    return static_cast<std::uint16_t>(sum + (sum >> 16));
}

std::uint16_t sum_of(const std::uint8_t *begin, const std::uint8_t *end) noexcept
{
    return rte_raw_cksum(begin, static_cast<std::size_t>(end - begin));
}

/// The checksum of SCTP (RFC 9260, 6.8), a CRC32c. rte_hash_crc() is not used because it reads words from any address
/// as if they were aligned.
std::uint32_t crc32c(const std::uint8_t *begin, const std::uint8_t *end) noexcept
{
    std::uint32_t crc = UINT32_MAX;
    for (; end - begin >= 8; begin += 8) {
        crc = rte_hash_crc_8byte(load_as<std::uint64_t>(begin), crc);
    }
    for (; begin != end; begin++) {
        crc = rte_hash_crc_1byte(*begin, crc);
    }
    return rte_cpu_to_le_32(~crc);
}

/// The way through the headers of one frame.
class csum_walk
{
public:
    csum_walk(std::uint8_t *frame, std::uint32_t length) noexcept : at_(frame), end_(frame + length) {}
    /// Completes the unfinished checksum, if there is one. Called once.
    void run() noexcept;

private:
    /// A checksum on the way.
    struct field {
        std::uint8_t *begin, *end; ///< bytes that it covers
        std::uint32_t offset;      ///< of the checksum field, from `begin`
        std::uint16_t unfinished;  ///< value of the field before it is completed
        bool crc;                  ///< a CRC of 32 bits
    };

    std::uint32_t room() const noexcept { return static_cast<std::uint32_t>(end_ - at_); }
    // Bytes behind the end read as zero.
    std::uint8_t byte(std::uint32_t offset) const noexcept { return offset < room() ? at_[offset] : 0; }
    std::uint16_t be16(std::uint32_t offset) const noexcept
    {
        return static_cast<std::uint16_t>(byte(offset) << 8 | byte(offset + 1));
    }

    // Functions for the header at at_. Each returns whether the header that follows it must be examined.
    bool step() noexcept;
    bool skip(std::uint32_t length, std::uint32_t next) noexcept;
    bool ip4() noexcept;
    bool ip6() noexcept;
    bool extension() noexcept;
    bool routing() noexcept;
    bool udp() noexcept;
    bool gre() noexcept;
    bool mpls() noexcept;

    void set_addresses(unsigned length, unsigned source, unsigned destination) noexcept;
    void note(std::uint32_t offset, std::uint16_t unfinished, bool crc = false) noexcept;
    std::uint16_t pseudo_header(std::uint8_t protocol) const noexcept;
    bool unfinished(const field &f) const noexcept;
    bool agrees_with_outer(unsigned inner) const noexcept;

    std::uint8_t *at_;
    std::uint8_t *end_; ///< end of the innermost packet
    std::uint32_t next_ = next_header::ethernet;
    /// Addresses of the innermost IP header; IPv4 addresses are followed by zeros.
    std::array<std::uint8_t, 16> source_{}, destination_{};
    bool ip6_ = false;
    std::array<field, 8> fields_{}; ///< outermost first
    unsigned count_ = 0;
};

void csum_walk::run() noexcept
{
    for (unsigned headers = 0; headers < MOST_HEADERS && step(); headers++) {
    }
    for (unsigned i = count_; i-- > 0;) {
        const field &f = fields_[i];
        if (!unfinished(f) || !agrees_with_outer(i)) {
            continue;
        }
        if (f.crc) {
            const std::uint32_t crc = crc32c(f.begin, f.end);
            std::memcpy(f.begin + f.offset, &crc, sizeof crc);
        } else {
            const auto sum = static_cast<std::uint16_t>(~sum_of(f.begin, f.end));
            const std::uint16_t written = sum == 0 ? 0xFFFF : sum; // 0 means that there is no checksum
            std::memcpy(f.begin + f.offset, &written, sizeof written);
        }
        return;
    }
}

bool csum_walk::step() noexcept
{
    switch (next_) {
    case next_header::ethernet:
        return skip(14, next_of_ethernet(be16(12)));
    case next_header::vlan:
    case next_header::qinq:
        return skip(4, next_of_ethernet(be16(2)));
    case next_header::hsr:
        return skip(6, next_of_ethernet(be16(4)));
    case next_header::nsh:
        return byte(1) & 0x3F && skip((byte(1) & 0x3FU) * 4, next_of_nsh(byte(3)));
    case next_header::erspan2:
        return skip(8, next_header::ethernet);
    case next_header::erspan3:
        return skip(byte(11) & 1 ? 20 : 12, next_header::ethernet);
    case next_header::mpls:
        return mpls();
    case next_header::ip4:
        return ip4();
    case next_header::ip6:
        return ip6();
    case IPPROTO_HOPOPTS:
    case IPPROTO_DSTOPTS:
        return extension();
    case IPPROTO_ROUTING:
        return routing();
    case next_header::gre:
        return gre();
    case IPPROTO_UDP:
        return udp();
    case IPPROTO_TCP:
        note(TCP_CHECKSUM, pseudo_header(IPPROTO_TCP));
        return false;
    case IPPROTO_SCTP:
        note(SCTP_CHECKSUM, 0, true);
        return false;
    default:
        return false;
    }
}

/// Returns false if the header does not end within the packet.
bool csum_walk::skip(std::uint32_t length, std::uint32_t next) noexcept
{
    if (length > room()) {
        return false;
    }
    at_ += length;
    next_ = next;
    return true;
}

void csum_walk::set_addresses(unsigned length, unsigned source, unsigned destination) noexcept
{
    source_ = destination_ = {};
    std::copy_n(at_ + source, length, source_.begin());
    std::copy_n(at_ + destination, length, destination_.begin());
    ip6_ = length == source_.size();
}

/// A fragment has no unfinished checksum: the sender completes the checksum before it fragments.
bool csum_walk::ip4() noexcept
{
    const std::uint32_t header = (byte(0) & 15U) * 4, total = be16(2);
    constexpr std::uint16_t fragment = RTE_IPV4_HDR_MF_FLAG | RTE_IPV4_HDR_OFFSET_MASK;
    if (byte(0) >> 4 != 4 || header < sizeof(rte_ipv4_hdr) || total < header || total > room() || be16(6) & fragment) {
        return false;
    }
    end_ = at_ + total;
    set_addresses(4, 12, 16);
    return skip(header, next_of_ip(byte(9)));
}

bool csum_walk::ip6() noexcept
{
    const std::uint32_t header = sizeof(rte_ipv6_hdr), length = be16(4);
    if (byte(0) >> 4 != 6 || length == 0 || header + length > room()) {
        return false;
    }
    end_ = at_ + header + length;
    set_addresses(16, 8, 24);
    return skip(header, next_of_ip(byte(6)));
}

bool csum_walk::extension() noexcept { return ip6_ && skip((byte(1) + 1U) * 8, next_of_ip(byte(0))); }

/// While segments are left, the destination that a checksum covers is the last address of the route (RFC 8200 8.1).
bool csum_walk::routing() noexcept
{
    enum type : std::uint8_t { source_route = 0, mobile = 2, rpl = 3, segments = 4 };
    const std::uint32_t length = (byte(1) + 1U) * 8;
    if (byte(3) == 0) {
        return extension();
    }
    const bool elides = byte(2) == rpl; // octets that the address shares with the present destination (RFC 6554)
    const std::uint32_t elided = elides ? byte(4) & 15U : 0, pad = elides ? byte(5) >> 4U : 0;
    const std::uint32_t octets = 16 - elided;
    if (length > room() || pad + octets > length - 8) {
        return false;
    }
    const bool reversed = byte(2) == segments;
    if (!elides && !reversed && byte(2) != source_route && byte(2) != mobile) {
        return false;
    }
    std::copy_n(at_ + (reversed ? 8 : length - pad - octets), octets, destination_.begin() + elided);
    return extension();
}

bool csum_walk::udp() noexcept
{
    constexpr std::uint32_t header = 8;
    if (be16(UDP_CHECKSUM) != 0) {
        note(UDP_CHECKSUM, pseudo_header(IPPROTO_UDP));
    }
    if (room() < header) {
        return false;
    }
    const udp_tunnel tunnel = find_udp_tunnel(at_, room() - header);
    return skip(header + tunnel.length, tunnel.next);
}

bool csum_walk::gre() noexcept
{
    constexpr std::uint16_t checksum = 0x8000, key = 0x2000, sequence = 0x1000;
    const std::uint16_t flags = be16(0), type = be16(2);
    if (flags & ~(checksum | key | sequence)) {
        return false; // it has a routing field, or it is PPTP
    }
    if (flags & checksum) {
        note(GRE_CHECKSUM, 0);
    }
    const std::uint32_t length = 4U + (flags & checksum ? 4 : 0) + (flags & key ? 4 : 0) + (flags & sequence ? 4 : 0);
    // The first version of ERSPAN has neither a header nor sequence numbers.
    const bool bare = type == next_header::erspan2 && !(flags & sequence);
    return skip(length, bare ? next_header::ethernet : next_of_ethernet(type));
}

/// The type of the header behind the last label must be guessed from its first bits.
bool csum_walk::mpls() noexcept
{
    const bool last = byte(2) & 1;
    const unsigned version = byte(4) >> 4U;
    return skip(4, !last          ? next_header::mpls
                   : version == 4 ? next_header::ip4
                   : version == 6 ? next_header::ip6
                                  : next_header::none);
}

void csum_walk::note(std::uint32_t offset, std::uint16_t unfinished, bool crc) noexcept
{
    if (count_ == fields_.size()) {
        end_ = at_; // too deep: a checksum further inside cannot be checked against all checksums around it
    } else if (offset + (crc ? 4 : 2) <= room()) {
        fields_[count_++] = {at_, end_, offset, unfinished, crc};
    }
}

std::uint16_t csum_walk::pseudo_header(std::uint8_t protocol) const noexcept
{
    struct {
        std::array<std::uint8_t, 16> source, destination;
        std::uint32_t length, protocol;
    } const header{source_, destination_, rte_cpu_to_be_32(room()), rte_cpu_to_be_32(protocol)};
    return rte_raw_cksum(&header, sizeof header);
}

bool csum_walk::unfinished(const field &f) const noexcept
{
    const std::uint8_t *at = f.begin + f.offset;
    return f.crc ? load_as<std::uint32_t>(at) == 0 : load_as<std::uint16_t>(at) == f.unfinished;
}

/// Whether the checksums around field `inner` are right once it is completed. The bytes that it covers then sum up to
/// the complement of its pseudo-header.
bool csum_walk::agrees_with_outer(unsigned inner) const noexcept
{
    const field &f = fields_[inner];
    const auto finished = static_cast<std::uint16_t>(~f.unfinished);
    return std::all_of(fields_.begin(), fields_.begin() + inner, [&](const field &outer) {
        const std::uint32_t headers = sum_of(outer.begin, f.begin);
        return !f.crc && fold(headers + outer.unfinished + finished) == 0xFFFF;
    });
}

} // namespace

void complete_nested_checksum(std::uint8_t *frame, std::uint32_t length) noexcept { csum_walk(frame, length).run(); }

} // namespace halfpoll
