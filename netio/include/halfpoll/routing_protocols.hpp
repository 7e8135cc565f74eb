// SPDX-License-Identifier: BSD-3-Clause
//
// Not part of the API: the forwarder needs it.
#pragma once

#include <cstdint>

namespace halfpoll
{

/// The protocols that maintain routes or the routers' redundancy. Their packets take a way of their own to the kernel,
/// so that a flood of other packets does not end sessions.
inline constexpr std::uint8_t ROUTING_PROTOCOLS[] = {88, 89, 103, 112};                 ///< EIGRP, OSPF, PIM, VRRP
inline constexpr std::uint16_t ROUTING_TCP_PORTS[] = {179, 646};                        ///< BGP, LDP
inline constexpr std::uint16_t ROUTING_UDP_PORTS[] = {3784, 3785, 4784, 520, 521, 646}; ///< BFD (3), RIP, RIPng, LDP

} // namespace halfpoll
