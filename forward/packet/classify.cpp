// SPDX-License-Identifier: BSD-3-Clause
#include "input.hpp"

namespace halfpoll
{
namespace
{

/// Ones' complement sum of a header; 0xFFFF if its checksum is right (RFC 1071).
std::uint16_t header_sum(const std::uint8_t *header, unsigned bytes) noexcept
{
    std::uint32_t sum = 0;
    for (unsigned i = 0; i < bytes; i += 2) {
        sum += load<std::uint16_t>(header + i);
    }
    sum = (sum & 0xFFFF) + (sum >> 16);
    return static_cast<std::uint16_t>(sum + (sum >> 16));
}

/// "This network", loopback, multicast and what lies above: no host's address (RFC 1812 4.2.2.11, 5.3.7).
bool is_martian(std::uint32_t addr) noexcept
{
    const unsigned net = addr >> 24;
    return net == 0 || net == 127 || net >= 224;
}

bool is_multicast(std::uint32_t addr) noexcept { return addr >> 28 == 0xE; }

/// Not for a host behind us, so that only the kernel can know what to do with it.
void link_multicast(input &io, rte_mbuf *m, std::uint16_t type) noexcept
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

/// Counts what is not IPv4.
void count_family(rx_stats &stats, std::uint16_t type) noexcept
{
    if (type != ethertype_ip4) {
        stat_add(type == ethertype_ip6 ? stats.ip6 : stats.other);
    }
}

/// DROP_… if the header is not one that may be looked at further (RFC 1812 5.2.2), else DROP_FORWARD_MAX.
unsigned ip4_header_fault(rte_mbuf *m) noexcept
{
    if (!pull(m, eth_len + ip4_len)) {
        return DROP_FRAME_SHORT;
    }
    const std::uint8_t *ip = frame_of(m) + eth_len;
    const unsigned header_len = (ip[0] & 15U) * 4;
    if (ip[0] >> 4 != 4 || header_len < ip4_len) {
        return DROP_IP_VERSION;
    }
    const unsigned total = load_be16(ip + 2);
    if (total < header_len || total > m->pkt_len - eth_len || !pull(m, eth_len + header_len)) {
        return DROP_IP_LENGTH;
    }
    return header_sum(frame_of(m) + eth_len, header_len) == 0xFFFF ? DROP_FORWARD_MAX : DROP_IP_CSUM;
}

/// RFC 1624. A correct header never has the sum 0xFFFF, so that is written as 0.
void ip4_decrement_ttl(std::uint8_t *ip) noexcept
{
    ip[8]--;
    std::uint32_t sum = load<std::uint16_t>(ip + 10) + 1U;
    sum += sum >= 0xFFFF;
    store(ip + 10, static_cast<std::uint16_t>(sum));
}

/// The packet may have come from where it says, as far as its interface asks (RFC 3704). False: it has gone.
bool ip4_reverse_path(input &io, rte_mbuf *m) noexcept
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
        io.punt(PUNT_OTHER, m);
        return false;
    }
}

void ip4_route(input &io, rte_mbuf *m) noexcept
{
    std::uint8_t *ip = frame_of(m) + eth_len;
    const adjacency &adj = io.next_hop4(io.routes4.lookup(load_be32(ip + 16)), m);
    const unsigned total = load_be16(ip + 2);
    if (adj.kind == adjacency_kind::punt && adj.punt == PUNT_LOCAL) {
        io.punt(ip4_local_class(m, PUNT_LOCAL), m);
    } else if (io.from != nullptr && !io.from->forwarding4) {
        io.drop(DROP_NOT_FORWARDING, m);
    } else if (adj.kind != adjacency_kind::forward) {
        io.divert(adj, m);
    } else if (ip[8] <= 1) {
        io.punt(PUNT_TTL, m);
    } else if (ip[0] != 0x45) {
        io.punt(PUNT_OPTIONS, m);
    } else if (total > adj.mtu) {
        io.punt(PUNT_TOO_BIG, m);
    } else if (ip4_reverse_path(io, m)) {
        ip4_decrement_ttl(ip);
        io.rewrite(adj, total, m);
    }
}

void ip4_rcv(input &io, rte_mbuf *m) noexcept
{
    if (const unsigned fault = ip4_header_fault(m); fault != DROP_FORWARD_MAX) {
        return io.drop(fault, m);
    }
    const std::uint8_t *ip = frame_of(m) + eth_len;
    const std::uint32_t dst = load_be32(ip + 16);
    if (is_multicast(dst) || dst == 0xFFFFFFFF) {
        io.punt(ip4_local_class(m, PUNT_CONTROL), m);
    } else if (is_martian(load_be32(ip + 12))) {
        io.drop(DROP_IP_SRC, m);
    } else if (is_martian(dst)) {
        io.drop(DROP_IP_DST, m);
    } else {
        ip4_route(io, m);
    }
}

} // namespace

namespace
{

/// What belongs to which interface is the caller's to find out, once; without knowledge of interfaces it is the
/// kernel's.
unclassified tagged(input &io, rte_mbuf *m) noexcept
{
    if (io.port != nullptr) {
        return unclassified::tagged;
    }
    stat_add(io.stats.other);
    io.from == nullptr ? io.punt(PUNT_OTHER, m) : io.drop(DROP_VLAN, m);
    return unclassified::none;
}

} // namespace

unclassified classify(input &io, rte_mbuf *m) noexcept
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
        io.from->up ? io.punt(PUNT_OTHER, m) : io.drop(DROP_INTERFACE_DOWN, m);
        return unclassified::none;
    }
    if (frame[0] & 1) {
        count_family(io.stats, type);
        link_multicast(io, m, type);
        return unclassified::none;
    }
    if (load_mac(frame) != io.mac) {
        stat_add(io.stats.other);
        io.drop(DROP_OTHERHOST, m);
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
