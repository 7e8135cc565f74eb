// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "input.hpp"

#include <span>

namespace halfpoll
{

/// A burst as structure of arrays: what the group stage finds out about frames. Entries from n up to the next multiple
/// of 16 are written too, and mean nothing.
struct ip4_burst {
    alignas(64) std::uint32_t pkt_len[input_max];
    alignas(64) std::uint32_t dst[input_max];      ///< destination, host order
    alignas(64) std::uint32_t nexthop[input_max];  ///< of `dst`
    alignas(64) std::uint32_t ttl_word[input_max]; ///< bytes 22-25 (TTL, protocol, checksum) one hop further
    alignas(64) std::uint32_t fault[input_max];    ///< not 0: not a plain packet to forward
    alignas(64) std::uint8_t *frame[input_max];    ///< of a packet without fault
    std::uint64_t bytes;                           ///< of all packets
};

/// Checks what RFC 1812 5.2.2 and 5.3 ask, n (1 to 64) packets in groups: EtherType, version and header length, total
/// length, checksum, TTL > 1, addresses that may be forwarded. Looks their destinations
/// up. True if no packet has a fault, all are addressed to link address `mac` (low 48 bits) and none has bytes behind
/// it; `fault` does not tell the latter two.
using ip4_check_fn = bool (*)(ip4_burst &burst, const fib4 &routes, std::uint64_t mac, rte_mbuf *const *pkts,
                              unsigned n) noexcept;

struct ip4_check_level {
    const char *name;
    ip4_check_fn check;
};

/// What this machine can run, best first.
std::span<const ip4_check_level> ip4_check_levels() noexcept;

bool ip4_check_base(ip4_burst &burst, const fib4 &routes, std::uint64_t mac, rte_mbuf *const *pkts,
                    unsigned n) noexcept;
bool ip4_check_avx2(ip4_burst &burst, const fib4 &routes, std::uint64_t mac, rte_mbuf *const *pkts,
                    unsigned n) noexcept;
bool ip4_check_avx512(ip4_burst &burst, const fib4 &routes, std::uint64_t mac, rte_mbuf *const *pkts,
                      unsigned n) noexcept;

} // namespace halfpoll
