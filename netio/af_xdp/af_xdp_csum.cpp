// SPDX-License-Identifier: BSD-3-Clause
#include "af_xdp_csum.hpp"

#include "netio/flow/csum_walk.hpp"
#include "netio/flow/udp_tunnel.hpp"

#include <rte_byteorder.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_tcp.h>
#include <rte_udp.h>

#include <cstddef>
#include <cstdint>
#include <netinet/in.h>

namespace halfpoll
{

namespace
{

/// IP protocols below 64 whose payload may contain a checksum to complete: IP, options, routing headers, GRE.
constexpr std::uint64_t CARRIERS = 1ULL << IPPROTO_HOPOPTS | 1ULL << IPPROTO_IPIP | 1ULL << IPPROTO_IPV6 |
                                   1ULL << IPPROTO_ROUTING | 1ULL << IPPROTO_GRE | 1ULL << IPPROTO_DSTOPTS;

constexpr bool carries_more(std::uint8_t proto) noexcept
{
    return proto < 64 ? CARRIERS >> proto & 1 : proto == IPPROTO_SCTP || next_of_ip(proto) != proto;
}

/// Completes the checksum at `field` if it holds `pseudo`, the folded sum of the pseudo-header.
void complete(std::uint8_t *l4, std::uint32_t length, std::uint32_t field, std::uint16_t pseudo) noexcept
{
    auto *checksum = reinterpret_cast<unaligned_uint16_t *>(l4 + field);
    if (*checksum != pseudo) {
        return;
    }
    const auto sum = static_cast<std::uint16_t>(~rte_raw_cksum(l4, length));
    *checksum = sum == 0 ? 0xffff : sum; // in UDP zero means that there is no checksum; both values verify
}

/// Completes the checksum in the payload of an IP packet. False: an unfinished checksum may be further inside.
template <auto pseudo_header, typename Header>
inline bool complete_payload(std::uint8_t *l4, std::uint32_t length, std::uint8_t proto, const Header *ip) noexcept
{
    if (proto == IPPROTO_TCP) {
        if (length >= sizeof(rte_tcp_hdr)) {
            complete(l4, length, offsetof(rte_tcp_hdr, cksum), pseudo_header(ip, 0));
        }
        return true;
    }
    if (proto != IPPROTO_UDP) {
        return !carries_more(proto);
    }
    if (length < sizeof(rte_udp_hdr)) {
        return true;
    }
    if (may_be_udp_tunnel(l4, length - sizeof(rte_udp_hdr))) {
        return false;
    }
    complete(l4, length, offsetof(rte_udp_hdr, dgram_cksum), pseudo_header(ip, 0));
    return true;
}

bool complete_ipv4(std::uint8_t *l3, std::uint32_t room) noexcept
{
    const auto *ip = reinterpret_cast<const rte_ipv4_hdr *>(l3);
    if (room < sizeof *ip) {
        return true;
    }
    const std::uint32_t header = (ip->version_ihl & RTE_IPV4_HDR_IHL_MASK) * RTE_IPV4_IHL_MULTIPLIER;
    const std::uint32_t total = rte_be_to_cpu_16(ip->total_length);
    constexpr std::uint16_t fragment = RTE_IPV4_HDR_MF_FLAG | RTE_IPV4_HDR_OFFSET_MASK;
    if (header < sizeof *ip || total > room || total < header || (ip->fragment_offset & rte_cpu_to_be_16(fragment))) {
        return true;
    }
    return complete_payload<rte_ipv4_phdr_cksum>(l3 + header, total - header, ip->next_proto_id, ip);
}

bool complete_ipv6(std::uint8_t *l3, std::uint32_t room) noexcept
{
    const auto *ip = reinterpret_cast<const rte_ipv6_hdr *>(l3);
    if (room < sizeof *ip) {
        return true;
    }
    const std::uint32_t length = rte_be_to_cpu_16(ip->payload_len);
    if (length > room - sizeof *ip) {
        return true;
    }
    return complete_payload<rte_ipv6_phdr_cksum>(l3 + sizeof *ip, length, ip->proto, ip);
}

} // namespace

void complete_partial_checksum(std::uint8_t *frame, std::uint32_t length) noexcept
{
    bool done = true;
    for (std::uint32_t at = offsetof(rte_ether_hdr, ether_type); at + 2 <= length; at += sizeof(rte_vlan_hdr)) {
        const std::uint16_t type = *reinterpret_cast<const unaligned_uint16_t *>(frame + at);
        std::uint8_t *l3 = frame + at + 2;
        const std::uint32_t room = length - at - 2;
        if (type == rte_cpu_to_be_16(RTE_ETHER_TYPE_IPV4)) {
            done = complete_ipv4(l3, room);
        } else if (type == rte_cpu_to_be_16(RTE_ETHER_TYPE_IPV6)) {
            done = complete_ipv6(l3, room);
        } else if (type == rte_cpu_to_be_16(RTE_ETHER_TYPE_VLAN) || type == rte_cpu_to_be_16(RTE_ETHER_TYPE_QINQ)) {
            continue;
        } else {
            done = type == rte_cpu_to_be_16(RTE_ETHER_TYPE_ARP);
        }
        break;
    }
    if (!done) {
        complete_nested_checksum(frame, length);
    }
}

} // namespace halfpoll
