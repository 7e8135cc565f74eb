// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>

namespace halfpoll
{

/// The kind of the next header: an IP protocol number or, from 0x600 on, an EtherType. A kind has one value, whichever
/// header announces it.
namespace next_header
{
inline constexpr std::uint32_t none = 59, gre = 47; ///< "none": no known header follows
inline constexpr std::uint32_t ip4 = 0x0800, ip6 = 0x86DD, ethernet = 0x6558, mpls = 0x8847, nsh = 0x894F;
inline constexpr std::uint32_t vlan = 0x8100, qinq = 0x88A8, hsr = 0x892F, erspan2 = 0x88BE, erspan3 = 0x22EB;
} // namespace next_header

/// The kind for an IP protocol number.
constexpr std::uint32_t next_of_ip(std::uint8_t protocol) noexcept
{
    switch (protocol) {
    case 4:
        return next_header::ip4;
    case 41:
        return next_header::ip6;
    case 137:
        return next_header::mpls;
    case 143:
        return next_header::ethernet;
    default:
        return protocol;
    }
}

/// The kind for an EtherType field, which may be a length (802.3).
constexpr std::uint32_t next_of_ethernet(std::uint16_t type) noexcept
{
    return type < 0x600 ? next_header::none : type == 0x8848 ? next_header::mpls : type;
}

/// The kind for the field "next protocol" in a network service header (RFC 8300) and in VXLAN-GPE.
constexpr std::uint32_t next_of_nsh(std::uint8_t protocol) noexcept
{
    constexpr std::uint32_t next[] = {next_header::none,     next_header::ip4, next_header::ip6,
                                      next_header::ethernet, next_header::nsh, next_header::mpls};
    return protocol < sizeof next / sizeof *next ? next[protocol] : next_header::none;
}

inline constexpr std::uint32_t shortest_inner = 20; ///< bytes of an IPv4 header: fewer contain no packet
inline constexpr std::uint16_t mpls_port = 6635;    ///< RFC 7510

/// The tunnel header behind a UDP header, and the kind of the header behind that.
struct udp_tunnel {
    std::uint32_t next = next_header::none;
    std::uint32_t length = 0; ///< bytes of the tunnel header
};

/// Recognizes VXLAN, VXLAN-GPE, GENEVE, GUE and FOU by the content of the payload, because the two ends may agree on
/// any ports: there must be a sound header, and behind it a header that fits the rest. MPLS, whose header is not
/// distinctive, is recognized by its port. Tunnels with remote checksum offload are not recognized, because the
/// receiver completes their inner checksum. `udp` points to the UDP header, with `room` bytes of payload behind it.
udp_tunnel find_udp_tunnel(const std::uint8_t *udp, std::uint32_t room) noexcept;

/// False: find_udp_tunnel() would not find a tunnel. A fast test for the many datagrams without one.
inline bool may_be_udp_tunnel(const std::uint8_t *udp, std::uint32_t room) noexcept
{
    if (room < shortest_inner) {
        return false;
    }
    constexpr unsigned with_header = 0x0F0F; // by the first four bits: GENEVE, GRE, GUE and VXLAN
    const std::uint8_t *payload = udp + 8;
    const auto be16 = [](const std::uint8_t *at) { return static_cast<unsigned>(at[0] << 8 | at[1]); };
    const unsigned version = payload[0] >> 4, type = be16(payload + 2);
    if (with_header >> version & 1) {
        if (payload[7] == 0 || type == 0 || type == next_header::ethernet || type == next_header::ip4 ||
            type == next_header::ip6) {
            return true;
        }
    } else if (version == 4 || version == 6) {
        return version == 4 ? type == room : be16(payload + 4) + 40 == room;
    }
    return be16(udp + 2) == mpls_port;
}

} // namespace halfpoll
