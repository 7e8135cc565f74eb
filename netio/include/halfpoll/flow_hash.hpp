// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <array>
#include <cstdint>
#include <span>

struct rte_mbuf;

namespace halfpoll
{

/// The largest burst that flow_hash_burst() takes.
inline constexpr unsigned FLOW_HASH_BURST = 64;

/// The Toeplitz key. The hash in software uses the first 40 bytes; NICs that take a key for RSS use as many bytes as
/// they have (40 or 52). The key is random from the first use on, unless it was set before, so that no sender can aim
/// at one queue or CPU (the kernel's netdev_rss_key_fill()). flow_hash_key() throws `error` if the kernel has no random
/// bytes. Control thread.
using flow_hash_key_bytes = std::array<std::uint8_t, 255>; // rte_eth_rss_conf::rss_key_len
const flow_hash_key_bytes &flow_hash_key();
/// Sets the key, of at least 40 bytes; a short key is repeated. Call it before the first net_core: the hash of packets
/// that are under way must not change. Control thread.
void set_flow_hash_key(std::span<const std::uint8_t> key) noexcept;

/// Computes the flow hash of n packets (at most FLOW_HASH_BURST) that start with an Ethernet header. If the mbuf has
/// the NIC's hash (RTE_MBUF_F_RX_RSS_HASH), that is used. Else the hash is the Toeplitz hash of source address,
/// destination address and, for TCP and UDP, both ports; it is stored in the mbuf with the same flag. Up to two VLAN
/// tags and up to eight IPv6 hop-by-hop, routing and destination headers are skipped, because any packet of a flow may
/// lack them. Fragments are hashed on their addresses alone, so that the fragments of a packet stay together. 0 means
/// that the packet belongs to no flow (not IP, or truncated); the flag is not set then. Reads first segments only. Any
/// thread that owns the packets.
void flow_hash_burst(rte_mbuf *const *pkts, unsigned n, std::uint32_t *hash) noexcept;

} // namespace halfpoll
