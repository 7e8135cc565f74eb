// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "burst_verdicts.hpp"

namespace halfpoll
{

/// Forwards a burst, whatever its packets are: plain IPv4 packets that are addressed to the interface all at once,
/// others one by one. Calls the functions below.
void forward_burst(burst_verdicts &io, rte_mbuf **pkts, unsigned n) noexcept;
/// Forwards IPv6 packets whose frames are addressed to the interface.
void ip6_forward(burst_verdicts &io, rte_mbuf **pkts, unsigned n) noexcept;
/// The cases that classify() leaves to its caller.
enum class unclassified {
    none,   ///< nothing: the packet was sent, punted or dropped
    ip6,    ///< IPv6, frame addressed to the interface
    tagged, ///< frame with a VLAN tag
};
/// Handles one packet that ip4_check() did not accept.
unclassified classify(burst_verdicts &io, rte_mbuf *m) noexcept;
/// Takes the VLAN tags off and forwards the packets as received on the interfaces that the tags name.
void vlan_input(burst_verdicts &io, rte_mbuf **pkts, unsigned n) noexcept;

} // namespace halfpoll
