// SPDX-License-Identifier: BSD-3-Clause
//
// Rings of packets, each with a word that says where it goes. The word travels beside the packet and not in its buffer:
// programs and drivers may leave no headroom there, and others may hold the packet as well. Who includes this defines
// RTE_USE_C11_MEM_MODEL first.
#pragma once

#include <halfpoll/net_core.hpp>

#include <rte_ring.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace halfpoll
{

/// An element. 16 bytes, which rte_ring copies as such.
struct alignas(16) tagged_packet {
    rte_mbuf *pkt;
    std::uintptr_t tag;
};
static_assert(sizeof(tagged_packet) == 16);

/// How much memory, aligned to a cache line, rte_ring_init() wants for a ring of `slots` (a power of two): the header
/// of a ring, then its elements. Of rte_ring the functions for elements of such a size have no C linkage in DPDK 24.11.
constexpr std::size_t tagged_ring_bytes(std::size_t slots) noexcept
{
    return RTE_CACHE_LINE_ROUNDUP(sizeof(rte_ring) + slots * sizeof(tagged_packet));
}

/// Puts packets, all with the same tag, as many as fit; returns how many. The ring's producer.
inline unsigned tagged_enqueue(rte_ring *ring, std::uintptr_t tag, rte_mbuf *const *pkts, unsigned n) noexcept
{
    tagged_packet slots[NET_BURST];
    unsigned put = 0;
    for (unsigned k, taken; put < n; put += taken) {
        k = std::min(NET_BURST, n - put);
        for (unsigned i = 0; i < k; ++i) {
            slots[i] = {pkts[put + i], tag};
        }
        taken = rte_ring_sp_enqueue_burst_elem(ring, slots, sizeof *slots, k, nullptr);
        if (taken < k) {
            return put + taken;
        }
    }
    return put;
}

/// Takes up to n; returns how many. The ring's consumer.
inline unsigned tagged_dequeue(rte_ring *ring, tagged_packet *to, unsigned n) noexcept
{
    return rte_ring_sc_dequeue_burst_elem(ring, to, sizeof *to, n, nullptr);
}

} // namespace halfpoll
