// SPDX-License-Identifier: BSD-3-Clause
#include "shadow_gro.hpp"
#include "frame_fields.hpp"

#include <rte_byteorder.h>
#include <rte_mbuf.h>

#include <algorithm>
#include <cstring>
#include <netinet/in.h>

namespace halfpoll
{

namespace
{

constexpr unsigned LONGEST_IP = 65535;                        ///< bytes of a merged IP packet
constexpr unsigned UDP_PACKETS = 64;                          ///< in a frame; the kernel's UDP_GRO_CNT_MAX
constexpr unsigned MOST_TAGS = 4;                             ///< VLAN tags of packets that are merged
constexpr std::uint8_t TCP_NEVER = 0x80 | 0x20 | 0x04 | 0x02; ///< CWR, URG, RST, SYN
constexpr std::uint16_t DONT_FRAGMENT = 0x4000;

const std::uint8_t *bytes_of(const rte_mbuf &m) noexcept { return rte_pktmbuf_mtod(&m, const std::uint8_t *); }

bool same(const rte_mbuf &a, const rte_mbuf &b, unsigned at, unsigned length) noexcept
{
    return std::memcmp(bytes_of(a) + at, bytes_of(b) + at, length) == 0;
}

std::uint32_t hash_of(const std::uint8_t *addresses, unsigned length) noexcept
{
    std::uint32_t hash = length;
    for (unsigned i = 0; i < length; i += 4) {
        hash = (hash ^ get32(addresses + i)) * 0x9E3779B1;
    }
    return hash;
}

/// Where both addresses of an IP header are, and their length in bytes.
unsigned addresses_at(bool ip4) noexcept { return ip4 ? 12 : 8; }
unsigned addresses_length(bool ip4) noexcept { return ip4 ? 8 : 32; }

/// The sum of the words of a packet from `at` on, an even offset from where the sum begins.
std::uint16_t sum_from(const rte_mbuf &m, unsigned at) noexcept
{
    std::uint32_t sum = 0;
    bool odd = false; // the bytes so far are odd in number: in the next segment, high and low bytes change places
    for (const rte_mbuf *seg = &m; seg != nullptr; seg = seg->next, at = 0) {
        const std::span<const std::uint8_t> part(bytes_of(*seg) + at, seg->data_len - at);
        const std::uint16_t of_part = sum_of(part);
        sum += odd ? rte_bswap16(of_part) : of_part;
        odd ^= part.size() % 2 != 0;
    }
    return fold(sum);
}

/// The sum of the pseudo-header of a packet whose transport header and payload are `length` bytes long.
std::uint16_t pseudo_header(const std::uint8_t *ip, bool ip4, std::uint8_t protocol, unsigned length) noexcept
{
    const std::uint16_t addresses = sum_of({ip + addresses_at(ip4), addresses_length(ip4)});
    return fold(std::uint32_t{addresses} + protocol + length);
}

/// Sums that the kernel's segmentation would write exactly so. It writes zero where the sender may have written the
/// other value that stands for zero.
bool has_right_checksums(const rte_mbuf &m, unsigned network, unsigned transport, bool ip4,
                         std::uint8_t protocol) noexcept
{
    const std::uint8_t *ip = bytes_of(m) + network;
    if (ip4 && (get16(ip + IP4_CHECKSUM) == 0xFFFF || sum_of({ip, IP4_SHORTEST}) != 0xFFFF)) {
        return false;
    }
    const std::uint32_t sum =
        std::uint32_t{pseudo_header(ip, ip4, protocol, m.pkt_len - transport)} + sum_from(m, transport);
    return fold(sum) == 0xFFFF;
}

} // namespace

bool gro_batch::is_mergeable_ip(const view &v, const std::uint8_t *ip, std::uint32_t frame_length) noexcept
{
    // A packet whose time is over is answered by itself.
    if (v.ip4) {
        return v.network + get16(ip + 2) == frame_length && (get16(ip + 6) | DONT_FRAGMENT) == DONT_FRAGMENT &&
               ip[8] > 1;
    }
    return v.network + IP6_LENGTH + get16(ip + 4) == frame_length && ip[7] > 1;
}

bool gro_batch::look_at_tcp(view &v, std::span<const std::uint8_t> bytes) noexcept
{
    if (v.transport + TCP_SHORTEST > bytes.size()) {
        return false;
    }
    const std::uint8_t *tcp = &bytes[v.transport];
    v.headers = v.transport + (tcp[12] >> 4) * 4U;
    v.last = (tcp[13] & (TCP_FIN | TCP_PSH)) != 0;
    return (tcp[13] & TCP_NEVER) == 0 && v.headers >= v.transport + TCP_SHORTEST && v.headers <= bytes.size() &&
           get16(tcp + TCP_CHECKSUM) != 0xFFFF;
}

bool gro_batch::look_at_udp(view &v, std::span<const std::uint8_t> bytes, std::uint32_t frame_length) noexcept
{
    if (v.transport + UDP_LENGTH > bytes.size()) {
        return false;
    }
    const std::uint8_t *udp = &bytes[v.transport];
    v.headers = v.transport + UDP_LENGTH;
    return v.transport + get16(udp + 4) == frame_length && get16(udp + UDP_CHECKSUM) != 0;
}

/// Examines a TCP or UDP packet whose ports are in the first segment.
void gro_batch::look_at_flow(view &v, const rte_mbuf &m, gro_kinds kinds) noexcept
{
    const std::span bytes(bytes_of(m), m.data_len);
    const bool tcp = v.protocol == IPPROTO_TCP;
    v.kind = view::flow;
    if (!(tcp ? kinds.tcp : kinds.udp) || m.nb_segs > PIECES || v.network > 14 + 4 * MOST_TAGS ||
        !is_mergeable_ip(v, &bytes[v.network], m.pkt_len) ||
        !(tcp ? look_at_tcp(v, bytes) : look_at_udp(v, bytes, m.pkt_len))) {
        return;
    }
    v.payload = m.pkt_len - v.headers;
    v.kind = v.payload != 0 ? view::mergeable : view::flow;
}

gro_batch::view gro_batch::view_of(const rte_mbuf &m, gro_kinds kinds) noexcept
{
    view v;
    const std::span bytes(bytes_of(m), m.data_len);
    const std::optional<link_header> link = link_header_of(bytes);
    if (!link) {
        return v;
    }
    v.kind = view::ip;
    v.ip4 = link->ip4;
    v.network = link->length;
    const std::uint8_t *ip = &bytes[v.network];
    v.addresses = hash_of(ip + addresses_at(v.ip4), addresses_length(v.ip4));
    v.protocol = v.ip4 ? ip[9] : ip[6];
    v.transport = v.network + (v.ip4 ? IP4_SHORTEST : IP6_LENGTH);
    const bool plain = !v.ip4 || (ip[0] == 0x45 && (get16(ip + 6) & 0x3FFF) == 0); // no options, no fragment
    if (plain && (v.protocol == IPPROTO_TCP || v.protocol == IPPROTO_UDP) && v.transport + 4 <= bytes.size()) {
        look_at_flow(v, m, kinds);
    }
    return v;
}

/// Whether a packet has the addresses, the protocol and the ports of a frame.
bool gro_batch::same_flow(const merged &f, const rte_mbuf &m, const view &v) noexcept
{
    const view &h = f.headers;
    const std::uint8_t *a = bytes_of(*f.first), *b = bytes_of(m);
    const unsigned addresses = addresses_at(v.ip4);
    return h.ip4 == v.ip4 && h.protocol == v.protocol &&
           std::memcmp(a + h.network + addresses, b + v.network + addresses, addresses_length(v.ip4)) == 0 &&
           std::memcmp(a + h.transport, b + v.transport, 4) == 0;
}

bool gro_batch::follows_ip(const merged &f, const rte_mbuf &m, const view &v) noexcept
{
    const std::uint8_t *first = bytes_of(*f.first) + v.network, *ip = bytes_of(m) + v.network;
    if (!v.ip4) {
        return same(*f.first, m, v.network, 4) && first[7] == ip[7]; // class, flow label, hop limit
    }
    return same(*f.first, m, v.network, 2) && same(*f.first, m, v.network + 6, 3) && // TOS, DF, TTL
           static_cast<std::uint16_t>(get16(first + 4) + f.packets) == get16(ip + 4);
}

bool gro_batch::follows_tcp(const merged &f, const rte_mbuf &m, const view &v) noexcept
{
    const std::uint8_t *first = bytes_of(*f.first) + v.transport, *tcp = bytes_of(m) + v.transport;
    return get32(first + 4) + f.payload == get32(tcp + 4) && same(*f.first, m, v.transport + 8, 5) &&       // ack
           ((first[13] ^ tcp[13]) & ~(TCP_FIN | TCP_PSH)) == 0 && same(*f.first, m, v.transport + 14, 2) && // window
           same(*f.first, m, v.transport + 18, v.headers - v.transport - 18); // urgent pointer, options
}

/// Whether a packet is the next one of a frame's flow, and differs only in what segmentation makes anew.
bool gro_batch::follows(const merged &f, const rte_mbuf &m, const view &v) noexcept
{
    const view &h = f.headers;
    const bool tcp = v.protocol == IPPROTO_TCP;
    return h.network == v.network && h.headers == v.headers && v.payload <= h.payload &&
           h.headers - h.network + f.payload + v.payload <= LONGEST_IP && f.pieces + m.nb_segs <= PIECES &&
           (tcp || f.packets < UDP_PACKETS) && same(*f.first, m, 0, v.network) && follows_ip(f, m, v) &&
           (!tcp || follows_tcp(f, m, v));
}

/// Checksums are verified only here, so that a packet that stays alone costs nothing.
bool gro_batch::merge(merged &f, const rte_mbuf &m, const view &v) noexcept
{
    const auto right = [&](const rte_mbuf &packet) {
        return has_right_checksums(packet, v.network, v.transport, v.ip4, v.protocol);
    };
    if (!follows(f, m, v) || (!f.verified && !right(*f.first)) || !right(m)) {
        return false;
    }
    f.verified = true;
    next_[f.last_index] = static_cast<std::uint8_t>(packets_count_ - 1);
    f.last_index = static_cast<std::uint8_t>(packets_count_ - 1);
    ++f.packets;
    f.pieces += m.nb_segs;
    f.payload += v.payload;
    f.open = !v.last && v.payload == f.headers.payload;
    return true;
}

/// Merges a packet into the open frame of its flow. False: it could not be merged; then no open frame is left that the
/// packet must not be overtaken by.
bool gro_batch::merge_or_close(const rte_mbuf &m, void *to, const view &v) noexcept
{
    for (unsigned i = 0; i < frames_count_; ++i) {
        merged &f = frames_[i];
        if (!f.open || f.headers.addresses != v.addresses || f.to != to) {
            continue;
        }
        if (v.kind == view::ip) {
            f.open = false; // a fragment, for example, may belong to the flow
        } else if (same_flow(f, m, v)) {
            if (v.kind == view::mergeable && merge(f, m, v)) {
                return true;
            }
            f.open = false;
        }
    }
    return false;
}

void gro_batch::add(const rte_mbuf &m, void *to, gro_kinds kinds) noexcept
{
    const view v = view_of(m, kinds);
    const auto index = static_cast<std::uint8_t>(packets_count_);
    packets_[packets_count_++] = &m;
    if (v.kind != view::other && merge_or_close(m, to, v)) {
        return;
    }
    frames_[frames_count_++] = {.first = &m,
                                .to = to,
                                .headers = v,
                                .open = v.kind == view::mergeable && !v.last,
                                .verified = false,
                                .first_index = index,
                                .last_index = index,
                                .packets = 1,
                                .pieces = m.nb_segs,
                                .payload = v.payload};
}

/// Writes the headers of a merged frame, with a checksum that is left to the receiver.
void gro_batch::write_headers(const merged &f) noexcept
{
    const view &h = f.headers;
    const bool tcp = h.protocol == IPPROTO_TCP;
    const unsigned length = h.headers + f.payload, field = tcp ? TCP_CHECKSUM : UDP_CHECKSUM;
    std::copy_n(bytes_of(*f.first), h.headers, headers_.begin());
    std::uint8_t *ip = &headers_[h.network], *transport = &headers_[h.transport];
    if (h.ip4) {
        put16(ip + 2, length - h.network);
        put16(ip + IP4_CHECKSUM, 0);
        put16(ip + IP4_CHECKSUM, static_cast<std::uint16_t>(~sum_of({ip, IP4_SHORTEST})));
    } else {
        put16(ip + 4, length - h.transport);
    }
    if (tcp) {
        transport[13] |= bytes_of(*packets_[f.last_index])[h.transport + 13] & (TCP_FIN | TCP_PSH);
    } else {
        put16(transport + 4, length - h.transport);
    }
    put16(transport + field, pseudo_header(ip, h.ip4, h.protocol, length - h.transport));
    header_ = {.flags = vnet_header::NEEDS_CSUM,
               .gso_type = tcp ? (h.ip4 ? vnet_header::GSO_TCPV4 : vnet_header::GSO_TCPV6) : vnet_header::GSO_UDP_L4,
               .hdr_len = rte_cpu_to_le_16(static_cast<std::uint16_t>(h.headers)),
               .gso_size = rte_cpu_to_le_16(static_cast<std::uint16_t>(h.payload)),
               .csum_start = rte_cpu_to_le_16(static_cast<std::uint16_t>(h.transport)),
               .csum_offset = rte_cpu_to_le_16(static_cast<std::uint16_t>(field))};
}

std::span<const iovec> gro_batch::gather(unsigned index) noexcept
{
    const merged &f = frames_[index];
    if (f.pieces > PIECES) {
        return {};
    }
    header_ = {};
    std::size_t n = 0, skip = 0;
    pieces_[n++] = {&header_, sizeof header_};
    if (f.packets > 1) {
        write_headers(f);
        skip = f.headers.headers;
        pieces_[n++] = {headers_.data(), skip};
    }
    std::uint8_t at = f.first_index;
    for (unsigned i = 0; i < f.packets; ++i, at = next_[at]) {
        std::size_t without = skip;
        for (const rte_mbuf *seg = packets_[at]; seg != nullptr; seg = seg->next) {
            pieces_[n++] = {rte_pktmbuf_mtod_offset(seg, void *, without), seg->data_len - without};
            without = 0;
        }
    }
    return {pieces_.data(), n};
}

} // namespace halfpoll
