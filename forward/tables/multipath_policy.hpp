// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>

namespace halfpoll
{

/// What makes a flow where a prefix has several next hops: the values of net.ipv4.fib_multipath_hash_policy and
/// net.ipv6.fib_multipath_hash_policy.
enum class multipath_kind : std::uint16_t {
    l3 = 0,       ///< the addresses; IPv6: flow label and next header too
    l4 = 1,       ///< addresses, protocol, ports
    inner_l3 = 2, ///< as `l3`, of the innermost packet
    custom = 3,   ///< what multipath_policy::fields names
};

/// How the packets of a family are spread over the next hops of a group.
struct multipath_policy {
    /// Bits of `fields`, as in fib_multipath_hash_fields.
    enum field : std::uint16_t { src = 1, dst = 2, protocol = 4, label = 8, sport = 16, dport = 32 };
    static constexpr unsigned inner_shift = 6; ///< the same fields of the innermost packet stand that much higher
    static constexpr std::uint16_t every_field = (1U << 2 * inner_shift) - 1;

    multipath_kind kind = multipath_kind::l3;
    std::uint16_t fields = 0; ///< of `custom`
    bool operator==(const multipath_policy &) const = default;
};

} // namespace halfpoll
