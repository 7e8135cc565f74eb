// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <array>
#include <cstdint>

struct rte_mbuf;

namespace halfpoll
{

/// Most packets that one call of flow_hash_burst() takes.
inline constexpr unsigned FLOW_HASH_BURST = 64;

/// The key of the hash in software: the one of Microsoft's RSS specification, whose test vectors hold.
inline constexpr std::array<std::uint8_t, 40> TOEPLITZ_KEY = {
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3,
    0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3,
    0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa};

/// The flow hash of each of n packets (at most FLOW_HASH_BURST), which start with an Ethernet header: what the NIC has
/// computed, if the mbuf says so (RTE_MBUF_F_RX_RSS_HASH); else the Toeplitz hash of source address, destination
/// address and, of TCP and UDP, both ports, which is then left in the mbuf in the same way. Up to two VLAN tags and the
/// IPv6 extension headers that every packet of a flow may lack are passed over; fragments are hashed on their
/// addresses alone, so that those of a packet stay together. 0: no flow is known (not IP, or cut off), and nothing is
/// left in the mbuf. Looks at first segments only. Any thread that owns the packets.
void flow_hash_burst(rte_mbuf *const *pkts, unsigned n, std::uint32_t *hash) noexcept;

} // namespace halfpoll
