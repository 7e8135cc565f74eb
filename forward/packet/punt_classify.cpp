// SPDX-License-Identifier: BSD-3-Clause
#include "punt_classify.hpp"
#include "segments.hpp"
#include "wire.hpp"

#include <halfpoll/routing_protocols.hpp>

#include <halfpoll/slow_path.hpp>

#include <algorithm>
#include <iterator>
#include <span>

namespace halfpoll
{
namespace
{

enum : std::uint8_t { proto_tcp = 6, proto_udp = 17, proto_icmp6 = 58 };

template <typename T>
bool is_in(std::span<const T> list, T value) noexcept
{
    return std::ranges::find(list, value) != list.end();
}

/// Whether one of the ports of a TCP or UDP header is in the list.
bool has_port(rte_mbuf *m, unsigned l4, std::span<const std::uint16_t> ports) noexcept
{
    return pull(m, l4 + 4) &&
           (is_in(ports, load_be16(frame_of(m) + l4)) || is_in(ports, load_be16(frame_of(m) + l4 + 2)));
}

/// True for a protocol that maintains routes or the routers' redundancy. `l4`: offset of its header in the frame.
bool is_routing(rte_mbuf *m, std::uint8_t proto, unsigned l4) noexcept
{
    switch (proto) {
    case proto_tcp:
        return has_port(m, l4, ROUTING_TCP_PORTS);
    case proto_udp:
        return has_port(m, l4, ROUTING_UDP_PORTS);
    default:
        return is_in<std::uint8_t>(ROUTING_PROTOCOLS, proto);
    }
}

/// True for a group that no bridge forwards (IEEE 802.1Q, table 8-1): spanning tree, LACP, LLDP.
bool is_link_control(rte_mbuf *m) noexcept
{
    constexpr std::uint8_t group[] = {0x01, 0x80, 0xC2, 0, 0};
    const std::uint8_t *to = frame_of(m);
    return std::equal(std::begin(group), std::end(group), to) && to[5] <= 0x0F;
}

} // namespace

unsigned ip4_local_class(rte_mbuf *m, unsigned otherwise) noexcept
{
    if (!pull(m, eth_len + ip4_len)) {
        return otherwise;
    }
    const std::uint8_t *ip = frame_of(m) + eth_len;
    const bool first = (load_be16(ip + 6) & 0x1FFF) == 0;
    return first && is_routing(m, ip[9], eth_len + (ip[0] & 15U) * 4) ? unsigned{PUNT_ROUTING} : otherwise;
}

unsigned ip6_local_class(rte_mbuf *m, unsigned otherwise) noexcept
{
    if (!pull(m, eth_len + ip6_len)) {
        return otherwise;
    }
    if (is_neighbour_discovery(m)) {
        return PUNT_ARP_ND;
    }
    return is_routing(m, frame_of(m)[eth_len + 6], eth_len + ip6_len) ? unsigned{PUNT_ROUTING} : otherwise;
}

unsigned upper_class(rte_mbuf *m, std::uint16_t type) noexcept
{
    switch (type) {
    case ethertype_ip4:
        return ip4_local_class(m, PUNT_KERNEL);
    case ethertype_ip6:
        return ip6_local_class(m, PUNT_KERNEL);
    case ethertype_arp:
        return PUNT_ARP_ND;
    default:
        return is_link_control(m) ? unsigned{PUNT_CONTROL} : PUNT_KERNEL;
    }
}

bool is_isis(rte_mbuf *m) noexcept
{
    constexpr std::uint16_t longest_length = 1500, osi = 0xFEFE; // DSAP and SSAP of ISO network-layer protocols
    return pull(m, eth_len + 2) && load_be16(frame_of(m) + 12) <= longest_length &&
           load_be16(frame_of(m) + eth_len) == osi;
}

bool is_neighbour_discovery(rte_mbuf *m) noexcept
{
    constexpr std::uint8_t first = 133, last = 137;
    if (!pull(m, eth_len + ip6_len + 1)) {
        return false;
    }
    const std::uint8_t *ip = frame_of(m) + eth_len;
    return ip[6] == proto_icmp6 && ip[ip6_len] >= first && ip[ip6_len] <= last;
}

} // namespace halfpoll
