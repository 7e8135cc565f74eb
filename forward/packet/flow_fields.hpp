// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <rte_mbuf.h>

#include <array>
#include <cstdint>

namespace halfpoll
{

/// An IPv4 address is in the first word; the other is 0.
using flow_address = std::array<std::uint64_t, 2>;

/// The fields of a packet that may make its flow.
struct flow_fields {
    flow_address src{}, dst{};
    bool ip6 = false;          ///< family of the addresses
    bool encapsulated = false; ///< a header of another packet was found
    std::uint8_t protocol = 0; ///< the last one that was found, behind IPv6 extension headers
    std::uint32_t label = 0;   ///< IPv6 flow label; 0: none
    std::uint16_t sport = 0;   ///< network order; 0: none, or the packet is a fragment
    std::uint16_t dport = 0;   ///< network order. The two halves of the SPI of ESP and AH count as ports.
};

enum class flow_depth {
    outer,     ///< up to an encapsulated packet
    innermost, ///< into packets within IP in IP and GRE, with or without Ethernet or PPP
};

/// Reads the fields as the kernel's flow dissector does, so that packets that differ in nothing that the kernel looks
/// at have equal fields. A header that is cut off, or that is not known, ends the search; what was found before it
/// counts. `m` starts with a link header of 14 bytes and an IP header of the family `ip6`, in any number of segments.
/// Data CPUs.
flow_fields find_flow_fields(const rte_mbuf *m, bool ip6, flow_depth depth) noexcept;

} // namespace halfpoll
