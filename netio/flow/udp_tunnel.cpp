// SPDX-License-Identifier: BSD-3-Clause
#include "udp_tunnel.hpp"

#include <rte_byteorder.h>

#include <initializer_list>

namespace halfpoll
{
namespace
{

constexpr std::uint32_t UDP = 8, VXLAN = 8, GENEVE = 8, GUE = 4;

std::uint16_t be16(const std::uint8_t *at) noexcept
{
    return rte_be_to_cpu_16(*reinterpret_cast<const unaligned_uint16_t *>(at));
}

bool fits_gre(const std::uint8_t *at) noexcept
{
    const std::uint16_t type = be16(at + 2);
    return (be16(at) & 0x4FFF) == 0 &&
           (type == next_header::ip4 || type == next_header::ip6 || type == next_header::ethernet);
}

bool fits_ethernet(const std::uint8_t *at) noexcept
{
    const std::uint16_t type = be16(at + 12);
    return type == next_header::ip4 || type == next_header::ip6 || type == next_header::vlan ||
           type == next_header::qinq || type == next_header::mpls;
}

/// Whether a header of kind `next` may begin at `at`, in the last `room` bytes of a datagram.
bool fits(std::uint32_t next, const std::uint8_t *at, std::uint32_t room) noexcept
{
    if (room < shortest_inner) {
        return false;
    }
    switch (next) {
    case next_header::ip4:
        return at[0] >> 4 == 4 && be16(at + 2) == room;
    case next_header::ip6:
        return at[0] >> 4 == 6 && be16(at + 4) + 40U == room;
    case next_header::ethernet:
        return fits_ethernet(at);
    case next_header::gre:
        return fits_gre(at);
    default:
        return next == next_header::mpls || next == next_header::nsh;
    }
}

/// VXLAN with group policy (draft VXLAN-GBP) and without, and VXLAN-GPE.
udp_tunnel vxlan(const std::uint8_t *at) noexcept
{
    constexpr std::uint8_t vni = 0x08, policy = 0x80, gpe = 0x04, policy_bits = 0x48;
    if (at[7] != 0) {
        return {};
    }
    if (at[0] == (vni | gpe) && at[1] == 0 && at[2] == 0) {
        return {next_of_nsh(at[3]), VXLAN};
    }
    const bool plain = at[0] == vni && at[1] == 0 && be16(at + 2) == 0;
    const bool grouped = at[0] == (vni | policy) && (at[1] & ~policy_bits) == 0;
    return plain || grouped ? udp_tunnel{next_header::ethernet, VXLAN} : udp_tunnel{};
}

udp_tunnel geneve(const std::uint8_t *at) noexcept
{
    constexpr std::uint8_t version = 0xC0, critical = 0x40;
    const bool sound = (at[0] & version) == 0 && (at[1] & ~critical) == 0 && at[7] == 0;
    return sound ? udp_tunnel{next_of_ethernet(be16(at + 2)), GENEVE + (at[0] & 0x3FU) * 4} : udp_tunnel{};
}

/// GUE without optional fields; the only one that exists is that of remote checksum offload. Variant 1 of GUE is a bare
/// IP packet.
udp_tunnel gue(const std::uint8_t *at) noexcept
{
    return at[0] == 0 && be16(at + 2) == 0 ? udp_tunnel{next_of_ip(at[1]), GUE} : udp_tunnel{};
}

} // namespace

udp_tunnel find_udp_tunnel(const std::uint8_t *udp, std::uint32_t room) noexcept
{
    const std::uint8_t *payload = udp + UDP;
    if (room < shortest_inner) {
        return {};
    }
    for (const udp_tunnel &tunnel :
         {udp_tunnel{next_header::ip4, 0}, udp_tunnel{next_header::ip6, 0}, vxlan(payload), geneve(payload),
          gue(payload), udp_tunnel{next_header::gre, 0}}) { // FOU has no header of its own
        if (tunnel.next != next_header::none && tunnel.length < room &&
            fits(tunnel.next, payload + tunnel.length, room - tunnel.length)) {
            return tunnel;
        }
    }
    return be16(udp + 2) == mpls_port ? udp_tunnel{next_header::mpls, 0} : udp_tunnel{};
}

} // namespace halfpoll
