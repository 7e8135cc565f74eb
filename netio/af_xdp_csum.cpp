// SPDX-License-Identifier: BSD-3-Clause
#include "af_xdp_csum.hpp"

#include <rte_byteorder.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_tcp.h>
#include <rte_udp.h>

#include <cstddef>
#include <netinet/in.h>

namespace halfpoll
{

namespace
{

/// Where the checksum field of a layer 4 header is; 0: no such protocol.
constexpr std::uint32_t checksum_offset(std::uint8_t proto) noexcept
{
    return proto == IPPROTO_TCP   ? offsetof(rte_tcp_hdr, cksum)
           : proto == IPPROTO_UDP ? offsetof(rte_udp_hdr, dgram_cksum)
                                  : 0;
}

/// `pseudo`: folded sum of the pseudo-header, as the field would hold it.
void complete(std::uint8_t *l4, std::uint32_t length, std::uint8_t proto, std::uint16_t pseudo) noexcept
{
    auto *field = reinterpret_cast<unaligned_uint16_t *>(l4 + checksum_offset(proto));
    if (*field != pseudo) {
        return;
    }
    const auto sum = static_cast<std::uint16_t>(~rte_raw_cksum(l4, length));
    *field = sum == 0 && proto == IPPROTO_UDP ? 0xffff : sum;
}

void complete_ipv4(std::uint8_t *l3, std::uint32_t room) noexcept
{
    const auto *ip = reinterpret_cast<const rte_ipv4_hdr *>(l3);
    if (room < sizeof *ip) {
        return;
    }
    const std::uint32_t header = (ip->version_ihl & RTE_IPV4_HDR_IHL_MASK) * RTE_IPV4_IHL_MULTIPLIER;
    const std::uint32_t total = rte_be_to_cpu_16(ip->total_length);
    const std::uint32_t field = checksum_offset(ip->next_proto_id);
    constexpr std::uint16_t fragment = RTE_IPV4_HDR_MF_FLAG | RTE_IPV4_HDR_OFFSET_MASK;
    if (field == 0 || header < sizeof *ip || total > room || total < header + field + 2 ||
        (ip->fragment_offset & rte_cpu_to_be_16(fragment))) {
        return;
    }
    complete(l3 + header, total - header, ip->next_proto_id, rte_ipv4_phdr_cksum(ip, 0));
}

void complete_ipv6(std::uint8_t *l3, std::uint32_t room) noexcept
{
    const auto *ip = reinterpret_cast<const rte_ipv6_hdr *>(l3);
    if (room < sizeof *ip) {
        return;
    }
    const std::uint32_t length = rte_be_to_cpu_16(ip->payload_len);
    const std::uint32_t field = checksum_offset(ip->proto);
    if (field == 0 || length > room - sizeof *ip || length < field + 2) {
        return;
    }
    complete(l3 + sizeof *ip, length, ip->proto, rte_ipv6_phdr_cksum(ip, 0));
}

} // namespace

void complete_partial_checksum(std::uint8_t *frame, std::uint32_t length) noexcept
{
    std::uint32_t at = offsetof(rte_ether_hdr, ether_type);
    for (unsigned tags = 0; at + 2 <= length; tags++, at += sizeof(rte_vlan_hdr)) {
        const std::uint16_t type = *reinterpret_cast<const unaligned_uint16_t *>(frame + at);
        std::uint8_t *l3 = frame + at + 2;
        const std::uint32_t room = length - at - 2;
        if (type == rte_cpu_to_be_16(RTE_ETHER_TYPE_IPV4)) {
            return complete_ipv4(l3, room);
        }
        if (type == rte_cpu_to_be_16(RTE_ETHER_TYPE_IPV6)) {
            return complete_ipv6(l3, room);
        }
        const bool tag = type == rte_cpu_to_be_16(RTE_ETHER_TYPE_VLAN) || type == rte_cpu_to_be_16(RTE_ETHER_TYPE_QINQ);
        if (!tag || tags == 2) {
            return;
        }
    }
}

} // namespace halfpoll
