// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <rte_mbuf.h>

#include <cstdint>

namespace halfpoll
{

/// Hash of a packet's flow, for the choice among next hops: of the addresses, and of the ports if the packet is TCP or
/// UDP and no fragment. `m` starts with a link header of 14 bytes and a valid IP header. Data CPUs. The hash differs
/// from machine to machine, since consecutive routers must not choose alike; it stays the same until the machine
/// reboots, so that a restart of the program moves no flow. (halfpoll/flow_hash.hpp is the hash of the receive side.)
std::uint32_t ip4_multipath_hash(const rte_mbuf *m) noexcept;
/// As ip4_multipath_hash(); the flow label counts too, as in the kernel.
std::uint32_t ip6_multipath_hash(const rte_mbuf *m) noexcept;

} // namespace halfpoll
