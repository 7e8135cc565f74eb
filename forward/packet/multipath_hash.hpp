// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <rte_mbuf.h>

#include <cstdint>

namespace halfpoll
{

/// A number that all packets of a flow have in common, for a choice among next hops: of the addresses, and of the ports
/// if the packet is TCP or UDP and no fragment. `m` starts with a link header of 14 bytes and a sound IP header. Data
/// cores. Routers behind one another must not choose alike, so it differs from machine to machine; it stays the same
/// until the machine boots again, so that a restart moves no flow. (halfpoll/flow_hash.hpp is the receive side's.)
std::uint32_t ip4_multipath_hash(const rte_mbuf *m) noexcept;
/// The same; the flow label counts too, as it does in the kernel.
std::uint32_t ip6_multipath_hash(const rte_mbuf *m) noexcept;

} // namespace halfpoll
