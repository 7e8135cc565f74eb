// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/flow_hash.hpp>

#include <rte_byteorder.h>
#include <rte_mbuf.h>

#include <cstdint>
#include <cstring>
#include <span>

namespace halfpoll
{

/// An implementation of flow_hash_burst(). All implementations give the same results.
using flow_hash_fn = void (*)(rte_mbuf *const *pkts, unsigned n, std::uint32_t *hash) noexcept;

struct flow_hash_level {
    const char *name;
    flow_hash_fn hash;
};

/// The implementations that this machine can run, best first.
std::span<const flow_hash_level> flow_hash_levels() noexcept;

void flow_hash_portable(rte_mbuf *const *pkts, unsigned n, std::uint32_t *hash) noexcept;
void flow_hash_pclmul(rte_mbuf *const *pkts, unsigned n, std::uint32_t *hash) noexcept;
/// Sets the key of flow_hash_pclmul(), at least 40 bytes. Called by set_flow_hash_key().
void flow_hash_pclmul_set_key(const std::uint8_t *key) noexcept;

/// The fields that identify a packet's flow: addresses in the packet (source, destination), and both ports as they lie
/// in memory.
struct flow_keys {
    const std::uint8_t *addresses = nullptr; ///< null: the packet belongs to no flow
    bool ip6 = false;
    std::uint32_t ports = 0;
};

/// Finds the flow fields of any packet.
flow_keys flow_dissect(const rte_mbuf *m) noexcept;

template <typename T>
T load_as(const void *at) noexcept
{
    T value;
    std::memcpy(&value, at, sizeof value);
    return value;
}

/// Whether a packet is of the most frequent kind: untagged IPv4 without options, TCP or UDP, no fragment. Then 16 bytes
/// may be read from offset 26 on, which begin with addresses and ports.
inline bool plain_ip4(const rte_mbuf *m, const std::uint8_t *frame) noexcept
{
    if (m->data_len < 42) {
        return false;
    }
    const std::uint32_t type_version = load_as<std::uint32_t>(frame + 12) & rte_cpu_to_be_32(0xFFFFFF00);
    const std::uint32_t fragment_protocol = load_as<std::uint32_t>(frame + 20) & rte_cpu_to_be_32(0x3FFF00FF);
    return type_version == rte_cpu_to_be_32(0x08004500) &&
           (fragment_protocol == rte_cpu_to_be_32(17) || fragment_protocol == rte_cpu_to_be_32(6));
}

/// The raw hash of a packet whose hash the NIC has not computed.
template <typename Toeplitz>
typename Toeplitz::raw raw_hash(const rte_mbuf *m) noexcept
{
    const auto *frame = rte_pktmbuf_mtod(m, const std::uint8_t *);
    if (plain_ip4(m, frame)) [[likely]] {
        return Toeplitz::plain(frame + 26);
    }
    const flow_keys keys = flow_dissect(m);
    return keys.addresses ? Toeplitz::of(keys) : 0;
}

/// Hashes a whole burst. `Toeplitz` computes raw hashes one by one and finishes them together.
template <typename Toeplitz>
void hash_burst(rte_mbuf *const *pkts, unsigned n, std::uint32_t *hash) noexcept
{
    std::uint8_t todo[FLOW_HASH_BURST];
    unsigned count = 0;
    for (unsigned i = 0; i < n; ++i) {
        const rte_mbuf *m = pkts[i];
        hash[i] = m->hash.rss;
        todo[count] = static_cast<std::uint8_t>(i);
        count += (m->ol_flags & RTE_MBUF_F_RX_RSS_HASH) == 0;
    }
    if (count == 0) {
        return;
    }
    alignas(16) typename Toeplitz::raw raw[FLOW_HASH_BURST + 4];
    alignas(16) std::uint32_t finished[FLOW_HASH_BURST + 4];
    for (unsigned i = 0; i < count; ++i) {
        raw[i] = raw_hash<Toeplitz>(pkts[todo[i]]);
    }
    Toeplitz::finish(raw, count, finished);
    for (unsigned i = 0; i < count; ++i) {
        rte_mbuf *m = pkts[todo[i]];
        hash[todo[i]] = finished[i];
        m->hash.rss = finished[i];
        m->ol_flags |= finished[i] != 0 ? RTE_MBUF_F_RX_RSS_HASH : 0;
    }
}

} // namespace halfpoll
