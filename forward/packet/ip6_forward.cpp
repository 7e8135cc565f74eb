// SPDX-License-Identifier: BSD-3-Clause
#include "forward_burst.hpp"
#include "punt_classify.hpp"
#include "segments.hpp"

#include <halfpoll/stat_add.hpp>

namespace halfpoll
{
namespace
{

bool is_multicast(const std::uint8_t *addr) noexcept { return addr[0] == 0xFF; }
bool is_link_local(const std::uint8_t *addr) noexcept { return addr[0] == 0xFE && (addr[1] & 0xC0) == 0x80; }
/// True for :: (`last` 0) or ::1 (`last` 1).
bool is_low(const std::uint8_t *addr, std::uint8_t last) noexcept
{
    return load<std::uint64_t>(addr) == 0 && load<std::uint64_t>(addr + 8) == std::uint64_t{last} << 56;
}

const std::uint8_t *source(const std::uint8_t *ip) noexcept { return ip + 8; }
const std::uint8_t *destination(const std::uint8_t *ip) noexcept { return ip + 24; }

/// Returns DROP_… if the packet is never forwarded or delivered, else DROP_FORWARD_MAX.
unsigned header_fault(rte_mbuf *m) noexcept
{
    if (!pull(m, eth_len + ip6_len)) {
        return DROP_FRAME_SHORT;
    }
    const std::uint8_t *ip = frame_of(m) + eth_len;
    if (ip[0] >> 4 != 6) {
        return DROP_IP_VERSION; // RFC 8200 section 3
    }
    if (load_be16(ip + 4) > m->pkt_len - eth_len - ip6_len) {
        return DROP_IP_LENGTH; // RFC 8200 section 3: Payload Length
    }
    if (is_multicast(source(ip)) || is_low(source(ip), 1)) {
        return DROP_IP_SRC; // RFC 4291 2.7, 2.5.3
    }
    // RFC 4291 2.5.2, 2.5.3.
    return is_low(destination(ip), 0) || is_low(destination(ip), 1) ? DROP_IP_DST : DROP_FORWARD_MAX;
}

/// Handles the packets that need no lookup. Returns false if the packet was dropped or punted.
bool before_lookup(burst_verdicts &io, rte_mbuf *m) noexcept
{
    if (const unsigned fault = header_fault(m); fault != DROP_FORWARD_MAX) {
        io.drop(fault, m);
        return false;
    }
    const std::uint8_t *ip = frame_of(m) + eth_len;
    if (is_multicast(destination(ip))) {
        io.punt(ip6_local_class(m, PUNT_CONTROL), m); // groups are never forwarded here
        return false;
    }
    if (is_link_local(destination(ip))) {
        io.punt(ip6_local_class(m, PUNT_LOCAL), m); // RFC 4291 2.5.6: never forwarded to another link
        return false;
    }
    return true;
}

/// Follows the route of a packet with a valid header. The first test, delivery to the box, precedes all conditions of
/// forwarding: the hop limit counts only for packets that are forwarded (RFC 8200 section 3).
void route(burst_verdicts &io, const adjacency &adj, rte_mbuf *m) noexcept
{
    constexpr std::uint8_t hop_by_hop = 0;
    std::uint8_t *ip = frame_of(m) + eth_len;
    const std::uint32_t len = ip6_len + load_be16(ip + 4);
    if (adj.kind == adjacency_kind::punt && adj.punt == PUNT_LOCAL) {
        io.punt(ip6_local_class(m, PUNT_LOCAL), m);
    } else if (io.from != nullptr && io.from->kernel6) {
        io.punt(PUNT_KERNEL, m); // a filter may drop it, or change its addresses before it is routed
    } else if (is_low(source(ip), 0) && adj.kind != adjacency_kind::punt) {
        // RFC 4291 2.5.2: never forwarded. The kernel does not look if the packet leaves where it came in. Where a
        // packet leaves that is punted is not known here.
        io.one_arm(adj) ? io.punt(PUNT_OTHER, m) : io.drop(DROP_IP_SRC, m);
    } else if (adj.kind == adjacency_kind::punt && adj.punt == PUNT_NO_ROUTE) {
        // The kernel sends Destination Unreachable (RFC 4443 3.1) whether it forwards or not.
        io.punt(PUNT_NO_ROUTE, m);
    } else if (io.from != nullptr && !io.from->forwarding6) {
        io.drop(DROP_NOT_FORWARDING, m);
    } else if (adj.kind != adjacency_kind::forward) {
        io.divert(adj, m);
    } else if (is_link_local(source(ip))) {
        io.punt(PUNT_OTHER, m); // RFC 4291 2.5.6; the kernel sends Destination Unreachable, code 2 (RFC 4443 3.1)
    } else if (ip[7] <= 1) {
        io.punt(PUNT_TTL, m); // RFC 8200 section 3; the kernel sends Time Exceeded (RFC 4443 3.3)
    } else if (ip[6] == hop_by_hop) {
        io.punt(PUNT_OPTIONS, m); // RFC 8200 4.3
    } else if (len > adj.mtu) {
        io.punt(PUNT_TOO_BIG, m); // RFC 8200 section 5; the kernel sends Packet Too Big (RFC 4443 3.2)
    } else if (!io.one_arm(adj) || !io.sample_one_arm(m)) {
        ip[7]--;
        io.rewrite(adj, len, m);
    }
}

} // namespace

void ip6_forward(burst_verdicts &io, rte_mbuf **pkts, unsigned n) noexcept
{
    rte_mbuf *left[burst_max];
    ip6_addr dst[burst_max];
    std::uint32_t nexthop[burst_max];
    unsigned count = 0;
    if (n == 0) {
        return;
    }
    stat_add(io.stats.ip6, n);
    for (unsigned i = 0; i < n; i++) {
        if (before_lookup(io, pkts[i])) {
            dst[count] = load<ip6_addr>(destination(frame_of(pkts[i]) + eth_len));
            left[count++] = pkts[i];
        }
    }
    if (count == 0) {
        return;
    }
    io.routes6.lookup_bulk(dst, nexthop, count);
    io.sample_use(nexthop, count);
    for (unsigned i = 0; i < count; i++) {
        route(io, io.next_hop6(nexthop[i], left[i]), left[i]);
    }
}

} // namespace halfpoll
