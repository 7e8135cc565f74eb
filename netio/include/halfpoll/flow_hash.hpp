// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <array>
#include <cstdint>
#include <span>

struct rte_mbuf;

namespace halfpoll
{

/// Most packets that one call of flow_hash_burst() takes.
inline constexpr unsigned FLOW_HASH_BURST = 64;

/// The Toeplitz key, of the hash in software (which uses the first 40 bytes) and of the RSS of all NICs that take one
/// (as many bytes as each has: 40 or 52). Random from the first use on unless it was set, so that nobody outside can
/// aim at one queue or CPU (the kernel's netdev_rss_key_fill()). Throws `error` if there is nothing random. Control
/// thread.
using flow_hash_key_bytes = std::array<std::uint8_t, 255>; // rte_eth_rss_conf::rss_key_len
const flow_hash_key_bytes &flow_hash_key();
/// Sets it; a longer one is made of it by repetition. At least 40 bytes. Before the first net_core: the hash of packets
/// that are under way must not change.
void set_flow_hash_key(std::span<const std::uint8_t> key) noexcept;

/// The flow hash of each of n packets (at most FLOW_HASH_BURST), which start with an Ethernet header: what the NIC has
/// computed, if the mbuf says so (RTE_MBUF_F_RX_RSS_HASH); else the Toeplitz hash of source address, destination
/// address and, of TCP and UDP, both ports, which is then left in the mbuf in the same way. Up to two VLAN tags and the
/// IPv6 extension headers that every packet of a flow may lack are passed over; fragments are hashed on their
/// addresses alone, so that those of a packet stay together. 0: no flow is known (not IP, or cut off), and nothing is
/// left in the mbuf. Looks at first segments only. Any thread that owns the packets.
void flow_hash_burst(rte_mbuf *const *pkts, unsigned n, std::uint32_t *hash) noexcept;

} // namespace halfpoll
