// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "fib.hpp"

#include <compare>
#include <cstdint>
#include <sys/socket.h>

namespace halfpoll
{

/// An address of either family, in network order, left-aligned. Family 0 (AF_UNSPEC): no address.
struct ip_addr {
    std::uint8_t family = AF_UNSPEC;
    ip6_addr bytes{};
    auto operator<=>(const ip_addr &) const = default;
};

inline constexpr unsigned address_bits(std::uint8_t family) { return family == AF_INET ? 32 : 128; }

/// The IPv4 address in host order, as fib4 takes it.
inline std::uint32_t to_ipv4(const ip6_addr &b)
{
    return std::uint32_t{b[0]} << 24 | std::uint32_t{b[1]} << 16 | std::uint32_t{b[2]} << 8 | b[3];
}

/// Ordered so that a prefix stands immediately before all prefixes that it covers.
struct ip_prefix {
    ip_addr addr; ///< bits beyond `len` are zero
    std::uint8_t len = 0;
    auto operator<=>(const ip_prefix &) const = default;
};

/// Makes a prefix; clears the bits beyond `len`.
inline ip_prefix make_prefix(ip_addr addr, unsigned len)
{
    for (unsigned byte = 0; byte < addr.bytes.size(); ++byte) {
        const unsigned kept = len > byte * 8 ? len - byte * 8 : 0;
        if (kept < 8) {
            addr.bytes[byte] &= static_cast<std::uint8_t>(0xff00U >> kept);
        }
    }
    return {addr, static_cast<std::uint8_t>(len)};
}

inline ip_prefix host_prefix(const ip_addr &addr) { return make_prefix(addr, address_bits(addr.family)); }

inline bool covers(const ip_prefix &wide, const ip_addr &addr)
{
    return wide.addr.family == addr.family && make_prefix(addr, wide.len).addr == wide.addr;
}

inline bool covers(const ip_prefix &wide, const ip_prefix &narrow)
{
    return wide.len <= narrow.len && covers(wide, narrow.addr);
}

} // namespace halfpoll
