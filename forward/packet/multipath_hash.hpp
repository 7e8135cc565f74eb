// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "forward/tables/multipath_policy.hpp"

#include <rte_mbuf.h>

#include <cstdint>

namespace halfpoll
{

/// Hash of a packet's flow, for the choice among next hops. What makes a flow is up to `policy`, as in the kernel:
/// packets that the kernel keeps together have the same hash, those that it spreads have another. The two directions of
/// a flow are one flow. By addresses (`l3`) an ICMP error belongs to the flow that it is about. `m` starts with a link
/// header of 14 bytes and a valid IP header. Data CPUs. The hash differs from machine to machine, since consecutive
/// routers must not choose alike; it stays the same until the machine reboots, so that a restart of the program moves
/// no flow. (halfpoll/flow_hash.hpp is the hash of the receive side.)
std::uint32_t ip4_multipath_hash(multipath_policy policy, const rte_mbuf *m) noexcept;
std::uint32_t ip6_multipath_hash(multipath_policy policy, const rte_mbuf *m) noexcept;

} // namespace halfpoll
