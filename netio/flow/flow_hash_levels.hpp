// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/flow_hash.hpp>

#include "flow_dissect.hpp"

#include <rte_mbuf.h>

#include <cstdint>
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
