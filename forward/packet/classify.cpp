// SPDX-License-Identifier: BSD-3-Clause
#include "forward_burst.hpp"
#include "punt_classify.hpp"
#include "segments.hpp"

#include <halfpoll/stat_add.hpp>

namespace halfpoll
{
namespace
{

/// Ones' complement sum of a header; 0xFFFF if the header's checksum is right (RFC 1071).
std::uint16_t header_sum(const std::uint8_t *header, unsigned bytes) noexcept
{
    std::uint32_t sum = 0;
    for (unsigned i = 0; i < bytes; i += 2) {
        sum += load<std::uint16_t>(header + i);
    }
    sum = (sum & 0xFFFF) + (sum >> 16);
    return static_cast<std::uint16_t>(sum + (sum >> 16));
}

bool is_multicast(std::uint32_t addr) noexcept { return addr >> 28 == 0xE; }

/// An address that is never a host's (RFC 1812 4.2.2.11, 5.3.7): loopback, multicast, 0.0.0.0, 255.255.255.255. As in
/// Linux since 5.3, other addresses of network 0 and class E are those of hosts. `suspicious()` (ip4_check_group.hpp)
/// leaves them to this test, since hardly anyone uses them.
bool is_martian(std::uint32_t addr) noexcept
{
    return addr == 0 || addr >> 24 == 127 || is_multicast(addr) || addr == 0xFFFFFFFF;
}

/// Punts a frame with a group address at the link. A router never forwards a link-layer broadcast (RFC 1812 5.3.4), and
/// only the kernel knows the local listeners.
void link_multicast(burst_verdicts &io, rte_mbuf *m, std::uint16_t type) noexcept
{
    switch (type) {
    case ethertype_ip4:
        return io.punt(ip4_local_class(m, PUNT_CONTROL), m);
    case ethertype_ip6:
        return io.punt(ip6_local_class(m, PUNT_CONTROL), m);
    case ethertype_arp:
        return io.punt(PUNT_ARP_ND, m);
    default:
        return io.punt(is_isis(m) ? PUNT_ROUTING : PUNT_CONTROL, m);
    }
}

/// Counts a frame that is not IPv4. (forwarder::counts() computes IPv4 as the difference.)
void count_family(rx_stats &stats, std::uint16_t type) noexcept
{
    if (type != ethertype_ip4) {
        stat_add(type == ethertype_ip6 ? stats.ip6 : stats.other);
    }
}

/// Returns DROP_… if the IPv4 header is not valid (RFC 1812 5.2.2), else DROP_FORWARD_MAX. ip4_check() makes the same
/// tests in `check()` (ip4_check_group.hpp).
unsigned ip4_header_fault(rte_mbuf *m) noexcept
{
    if (!pull(m, eth_len + ip4_len)) {
        return DROP_FRAME_SHORT; // RFC 1812 5.2.2 (1)
    }
    const std::uint8_t *ip = frame_of(m) + eth_len;
    const unsigned header_len = (ip[0] & 15U) * 4;
    if (ip[0] >> 4 != 4 || header_len < ip4_len) {
        return DROP_IP_VERSION; // RFC 1812 5.2.2 (3), (4)
    }
    const unsigned total = load_be16(ip + 2);
    if (total < header_len || total > m->pkt_len - eth_len || !pull(m, eth_len + header_len)) {
        return DROP_IP_LENGTH; // RFC 1812 5.2.2 (5); longer than the frame: RFC 791 3.1
    }
    // RFC 1812 5.2.2 (2).
    return header_sum(frame_of(m) + eth_len, header_len) == 0xFFFF ? DROP_FORWARD_MAX : DROP_IP_CSUM;
}

/// Decrements the TTL (RFC 1812 5.3.1) and updates the checksum (RFC 1624). A correct header never has the checksum
/// 0xFFFF, so that this value is written as 0.
void ip4_decrement_ttl(std::uint8_t *ip) noexcept
{
    ip[8]--;
    std::uint32_t sum = load<std::uint16_t>(ip + 10) + 1U;
    sum += sum >= 0xFFFF;
    store(ip + 10, static_cast<std::uint16_t>(sum));
}

/// Reverse-path check in the mode that the interface asks for (RFC 1812 5.3.8, RFC 3704). Returns false if the packet
/// failed the check and was dropped or punted.
bool ip4_reverse_path(burst_verdicts &io, rte_mbuf *m) noexcept
{
    if (io.from == nullptr || io.from->rp_filter == rp_filter_mode::off) {
        return true;
    }
    const std::uint32_t back = io.routes4.lookup(load_be32(frame_of(m) + eth_len + 12));
    switch (reverse_path(io.nexthops, *io.from, back)) {
    case rp_verdict::pass:
        return true;
    case rp_verdict::drop:
        io.drop(DROP_REVERSE_PATH, m);
        return false;
    default:
        io.punt(PUNT_KERNEL, m);
        return false;
    }
}

/// Follows the route of a packet with a valid header. `forward_one()` (forward_burst.cpp) makes the same decisions in
/// another order: before it runs, ip4_check() has tested TTL and options, and `admit()` forwarding4 and rp_filter; a
/// packet that fails one of those tests comes here. Here these tests follow the lookup, since a packet for the box is
/// delivered whatever its TTL and whatever forwarding4 says (RFC 1812 4.2.2.9, 5.2.3). Reverse path comes last: the
/// kernel checks the packets that are punted. A change of one of the two functions needs the same change in the other.
/// Forwarded from here are packets whose first segment is shorter than their headers, and those between addresses that
/// ip4_check() leaves to is_martian().
void ip4_route(burst_verdicts &io, rte_mbuf *m) noexcept
{
    std::uint8_t *ip = frame_of(m) + eth_len;
    const adjacency &adj = io.next_hop4(io.routes4.lookup(load_be32(ip + 16)), m);
    const unsigned total = load_be16(ip + 2);
    if (adj.kind == adjacency_kind::punt && adj.punt == PUNT_LOCAL) {
        io.punt(ip4_local_class(m, PUNT_LOCAL), m); // RFC 1812 5.2.3
    } else if (io.from != nullptr && !io.from->forwarding4) {
        io.drop(DROP_NOT_FORWARDING, m);
    } else if (adj.kind != adjacency_kind::forward) {
        io.divert(adj, m);
    } else if (ip[8] <= 1) {
        io.punt(PUNT_TTL, m); // RFC 1812 5.3.1: the kernel sends Time Exceeded
    } else if (ip[0] != 0x45) {
        io.punt(PUNT_OPTIONS, m); // RFC 1812 5.3.13
    } else if (total > adj.mtu) {
        io.punt(PUNT_TOO_BIG, m); // RFC 1812 5.2.6: the kernel fragments or sends Fragmentation Needed
    } else if (ip4_reverse_path(io, m) && (!io.one_arm(adj) || !io.sample_one_arm(m))) {
        ip4_decrement_ttl(ip);
        io.rewrite(adj, total, m);
    }
}

/// Punts a packet whose fate the kernel decides: a filter may drop it, or change its addresses before it is routed.
/// Only the class depends on its destination.
void ip4_to_kernel(burst_verdicts &io, rte_mbuf *m) noexcept
{
    const adjacency &adj = io.next_hop4(io.routes4.lookup(load_be32(frame_of(m) + eth_len + 16)), m);
    const bool local = adj.kind == adjacency_kind::punt && adj.punt == PUNT_LOCAL;
    io.punt(local ? ip4_local_class(m, PUNT_LOCAL) : unsigned{PUNT_KERNEL}, m);
}

/// Receives one IPv4 packet that is addressed to the interface at the link.
void ip4_rcv(burst_verdicts &io, rte_mbuf *m) noexcept
{
    if (const unsigned fault = ip4_header_fault(m); fault != DROP_FORWARD_MAX) {
        return io.drop(fault, m);
    }
    const std::uint8_t *ip = frame_of(m) + eth_len;
    const std::uint32_t dst = load_be32(ip + 16);
    if (is_multicast(dst) || dst == 0xFFFFFFFF) {
        io.punt(ip4_local_class(m, PUNT_CONTROL), m); // RFC 1812 5.2.1.3, 5.3.5.1: not forwarded here
    } else if (io.from != nullptr && io.from->kernel4) {
        ip4_to_kernel(io, m);
    } else if (is_martian(load_be32(ip + 12))) {
        io.drop(DROP_IP_SRC, m); // RFC 1812 5.3.7
    } else if (is_martian(dst)) {
        io.drop(DROP_IP_DST, m); // RFC 1812 5.3.7
    } else {
        ip4_route(io, m);
    }
}

} // namespace

namespace
{

/// Leaves a tagged packet to the caller, which groups packets by interface. Where no interfaces are known, the kernel
/// decides. A tag inside the tags of a known interface is for an interface on top of it, or dropped.
unclassified tagged(burst_verdicts &io, rte_mbuf *m) noexcept
{
    if (io.port != nullptr) {
        return unclassified::tagged;
    }
    stat_add(io.stats.other);
    io.from == nullptr || io.from->any_tags() ? io.punt(PUNT_KERNEL, m) : io.drop(DROP_VLAN, m);
    return unclassified::none;
}

/// A unicast frame to another link address than the interface's. The kernel takes it for a macvlan or a capture, if the
/// interface is promiscuous there.
void other_host(burst_verdicts &io, rte_mbuf *m, std::uint16_t type) noexcept
{
    if (io.from != nullptr && io.from->promiscuous) {
        count_family(io.stats, type);
        io.punt(upper_class(m, type), m);
    } else {
        stat_add(io.stats.other);
        io.drop(DROP_OTHERHOST, m);
    }
}

} // namespace

/// The tests at the link, for packets that ip4_check() did not accept; `forward_rest()` (forward_burst.cpp) passes all
/// others to `forward_one()`. There ip4_check() tests the EtherType, then `admit()` the interface, then
/// `forward_rest()` the link address. Here the order is: tag, interface, group address, link address, EtherType. A
/// change of one place needs the same change in the other.
unclassified classify(burst_verdicts &io, rte_mbuf *m) noexcept
{
    if (!pull(m, eth_len)) {
        stat_add(io.stats.other);
        io.drop(DROP_FRAME_SHORT, m);
        return unclassified::none;
    }
    const std::uint8_t *frame = frame_of(m);
    const std::uint16_t type = load_be16(frame + 12);
    if (type == ethertype_vlan || type == ethertype_qinq) {
        return tagged(io, m);
    }
    if (io.from != nullptr && (!io.from->up || io.from->kernel_only)) {
        count_family(io.stats, type);
        io.from->up ? io.punt(upper_class(m, type), m) : io.drop(DROP_INTERFACE_DOWN, m);
        return unclassified::none;
    }
    // A group address (RFC 1812 5.3.4).
    if (frame[0] & 1) {
        count_family(io.stats, type);
        link_multicast(io, m, type);
        return unclassified::none;
    }
    if (load_mac(frame) != io.mac) {
        other_host(io, m, type);
        return unclassified::none;
    }
    switch (type) {
    case ethertype_ip4:
        ip4_rcv(io, m);
        return unclassified::none;
    case ethertype_ip6:
        return unclassified::ip6;
    default:
        stat_add(io.stats.other);
        io.punt(type == ethertype_arp ? PUNT_ARP_ND : PUNT_OTHER, m);
        return unclassified::none;
    }
}

} // namespace halfpoll
