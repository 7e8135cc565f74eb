// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <algorithm>
#include <compare>
#include <cstdint>

namespace halfpoll
{

/// An address of either family as a number; an IPv4 address is in the first 32 of the 128 bits.
struct ip_number {
    std::uint64_t high = 0, low = 0;
    auto operator<=>(const ip_number &) const = default;

    /// The address with only its first `bits` bits, and zeros or (`ones`) ones behind them.
    ip_number cut(unsigned bits, bool ones = false) const
    {
        const std::uint64_t drop_high = bits >= 64 ? 0 : ~std::uint64_t{0} >> bits;
        const std::uint64_t drop_low = bits >= 128  ? 0
                                       : bits <= 64 ? ~std::uint64_t{0}
                                                    : ~std::uint64_t{0} >> (bits - 64);
        return ones ? ip_number{high | drop_high, low | drop_low} : ip_number{high & ~drop_high, low & ~drop_low};
    }
};

inline std::uint16_t load_be16(const std::uint8_t *p) { return static_cast<std::uint16_t>(p[0] << 8 | p[1]); }
inline std::uint32_t load_be32(const std::uint8_t *p) { return std::uint32_t{load_be16(p)} << 16 | load_be16(p + 2); }
inline std::uint64_t load_be64(const std::uint8_t *p) { return std::uint64_t{load_be32(p)} << 32 | load_be32(p + 4); }

inline ip_number load_address(const std::uint8_t *p, unsigned version)
{
    return version == 4 ? ip_number{std::uint64_t{load_be32(p)} << 32, 0} : ip_number{load_be64(p), load_be64(p + 8)};
}

/// The headers of an IP packet, as far as they are in one piece. All pointers point into the packet.
struct ip_view {
    unsigned version = 0; ///< 4 or 6; 0: no IP header was found, and the other members are not valid
    std::uint8_t protocol = 0;
    bool fragment = false; ///< the packet is a fragment, also the first one
    ip_number source, destination;
    /// Header of `protocol`; null: it is not here (a later fragment, or truncated).
    const std::uint8_t *payload = nullptr;
    const std::uint8_t *end = nullptr; ///< end of the IP packet, or of the part that is here

    bool has(std::size_t bytes) const { return payload && static_cast<std::size_t>(end - payload) >= bytes; }
};

inline ip_view parse_ip4(const std::uint8_t *ip, const std::uint8_t *end)
{
    const std::size_t room = static_cast<std::size_t>(end - ip);
    const std::size_t header = room < 20 || ip[0] >> 4 != 4 ? 0 : (ip[0] & 15U) * 4;
    if (header < 20 || load_be16(ip + 2) < header) {
        return {};
    }
    const std::uint16_t fragment = load_be16(ip + 6) & 0x3FFF; // the offset, and whether more fragments follow
    ip_view v{.version = 4, .protocol = ip[9], .fragment = fragment != 0};
    v.source = load_address(ip + 12, 4);
    v.destination = load_address(ip + 16, 4);
    v.end = ip + std::min<std::size_t>(room, load_be16(ip + 2));
    v.payload = (fragment & 0x1FFF) != 0 || room < header ? nullptr : ip + header;
    return v;
}

/// Skips at most 8 extension headers; `protocol` is the type of the header behind the last one seen.
inline void skip_extensions(ip_view &v)
{
    constexpr std::uint8_t hop_by_hop = 0, routing = 43, fragment = 44, destination = 60;
    for (unsigned i = 0; i < 8; ++i) {
        const std::uint8_t type = v.protocol;
        if (type != hop_by_hop && type != routing && type != destination && type != fragment) {
            return;
        }
        const std::size_t length = !v.has(8) ? 0 : type == fragment ? 8 : (v.payload[1] + 1U) * 8;
        if (length == 0 || !v.has(length)) {
            break;
        }
        const std::uint16_t offset = type == fragment ? load_be16(v.payload + 2) : 0;
        v.fragment |= (offset & 0xFFF9) != 0;
        v.protocol = v.payload[0];
        v.payload += length;
        if ((offset & 0xFFF8) != 0) {
            break;
        }
    }
    v.payload = nullptr;
}

inline ip_view parse_ip6(const std::uint8_t *ip, const std::uint8_t *end)
{
    const std::size_t room = static_cast<std::size_t>(end - ip);
    if (room < 40 || ip[0] >> 4 != 6) {
        return {};
    }
    ip_view v{.version = 6, .protocol = ip[6]};
    v.source = load_address(ip + 8, 6);
    v.destination = load_address(ip + 24, 6);
    v.payload = ip + 40;
    v.end = ip + std::min<std::size_t>(room, 40U + load_be16(ip + 4));
    skip_extensions(v);
    return v;
}

inline ip_view parse_ip(const std::uint8_t *ip, const std::uint8_t *end)
{
    return ip == end ? ip_view{} : ip[0] >> 4 == 4 ? parse_ip4(ip, end) : parse_ip6(ip, end);
}

/// Finds the IP packet in the first segment of a frame that has at most two VLAN tags.
inline ip_view parse_frame(const std::uint8_t *frame, const std::uint8_t *end)
{
    if (end - frame < 14) {
        return {};
    }
    const std::uint8_t *at = frame + 14;
    std::uint16_t type = load_be16(at - 2);
    for (unsigned tags = 0; tags < 2 && (type == 0x8100 || type == 0x88A8) && end - at >= 4; ++tags) {
        type = load_be16(at + 2);
        at += 4;
    }
    return type == 0x0800 ? parse_ip4(at, end) : type == 0x86DD ? parse_ip6(at, end) : ip_view{};
}

} // namespace halfpoll
