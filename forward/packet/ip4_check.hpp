// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "forwarder.hpp"

#include <rte_mbuf.h>

#include <cstdint>
#include <span>

namespace halfpoll
{

/// A burst as a structure of arrays: the results of ip4_check() for its packets. The entries from n up to the next
/// multiple of 16 are written too, and have no meaning.
struct ip4_burst {
    alignas(64) std::uint32_t pkt_len[burst_max];
    alignas(64) std::uint32_t dst[burst_max];      ///< destination, host order
    alignas(64) std::uint32_t nexthop[burst_max];  ///< lookup result for `dst`
    alignas(64) std::uint32_t ttl_word[burst_max]; ///< frame bytes 22-25 (TTL, protocol, checksum) after one hop
    alignas(64) std::uint32_t fault[burst_max];    ///< not 0: not a packet to forward on the fast path
    alignas(64) std::uint8_t *frame[burst_max];    ///< start of the frame; valid if the packet has no fault
    std::uint64_t bytes;                           ///< sum over all packets
};

/// Checks n (1 to 64) packets in SIMD groups and looks their destinations up. Sets `fault` unless: EtherType is IPv4;
/// version is 4 and the header has no options (RFC 1812 5.2.2 (3), (4), 5.3.13); total length fits header and frame
/// (5.2.2 (1), (5)); the checksum is right (5.2.2 (2)); TTL > 1 (5.3.1); neither address is of network 0, loopback or
/// above 223 (5.3.7; classify() knows which of these may be forwarded).
/// Returns true if no packet has a fault, all are addressed to the link address `mac` (low 48 bits), and no frame is
/// longer than its packet; the last two are not in `fault`.
using ip4_check_fn = bool (*)(ip4_burst &burst, const fib4 &routes, std::uint64_t mac, rte_mbuf *const *pkts,
                              unsigned n) noexcept;

struct ip4_check_level {
    const char *name;
    ip4_check_fn check;
};

/// The levels that this machine can run, fastest first.
std::span<const ip4_check_level> ip4_check_levels() noexcept;

bool ip4_check_base(ip4_burst &burst, const fib4 &routes, std::uint64_t mac, rte_mbuf *const *pkts,
                    unsigned n) noexcept;
bool ip4_check_avx2(ip4_burst &burst, const fib4 &routes, std::uint64_t mac, rte_mbuf *const *pkts,
                    unsigned n) noexcept;
bool ip4_check_avx512(ip4_burst &burst, const fib4 &routes, std::uint64_t mac, rte_mbuf *const *pkts,
                      unsigned n) noexcept;

} // namespace halfpoll
