// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <rte_mbuf.h>

#include <cstdint>

namespace halfpoll
{

/// Punt class of an IPv4 or IPv6 packet that is for the box or for a multicast group: PUNT_ROUTING (IPv6 also
/// PUNT_ARP_ND) if it is of a routing protocol (or of neighbour discovery), else `otherwise`.
unsigned ip4_local_class(rte_mbuf *m, unsigned otherwise) noexcept;
unsigned ip6_local_class(rte_mbuf *m, unsigned otherwise) noexcept;
/// Punt class of a frame that an interface on top of the one that it came in on may take: a bridge, a bond, a VRF, a
/// macvlan. Their neighbours and routing protocols live by the same frames. `type`: its EtherType.
unsigned upper_class(rte_mbuf *m, std::uint16_t type) noexcept;
/// True if the frame has the LLC header of IS-IS (ISO 10589).
bool is_isis(rte_mbuf *m) noexcept;
/// True if the frame is IPv6 with an ICMPv6 type of neighbour or router discovery (RFC 4861).
bool is_neighbour_discovery(rte_mbuf *m) noexcept;

} // namespace halfpoll
