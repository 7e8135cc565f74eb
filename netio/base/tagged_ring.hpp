// SPDX-License-Identifier: BSD-3-Clause
//
// Rings of packets, each with a word (tag) that says where it goes. The tag is kept beside the packet and not in its
// buffer, because programs and drivers may leave no headroom, and because the packet may have other references. A
// source file defines RTE_USE_C11_MEM_MODEL before it includes this header.
#pragma once

#include <halfpoll/net_core.hpp>

#include <rte_ring.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace halfpoll
{

/// An element of 16 bytes, which rte_ring copies as a unit.
struct alignas(16) tagged_packet {
    rte_mbuf *pkt;
    std::uintptr_t tag;
};
static_assert(sizeof(tagged_packet) == 16);

/// Bytes that rte_ring_init() needs for a ring of `slots` elements (a power of two), aligned to a cache line: the
/// header of a ring, then its elements. It is computed here because rte_ring's functions for elements of that size have
/// no C linkage in DPDK 24.11.
constexpr std::size_t tagged_ring_bytes(std::size_t slots) noexcept
{
    return RTE_CACHE_LINE_ROUNDUP(sizeof(rte_ring) + slots * sizeof(tagged_packet));
}

/// Enqueues as many of n packets as fit, all with the same tag; returns how many. The ring's producer.
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

/// Dequeues up to n packets with their tags; returns how many. The ring's consumer.
inline unsigned tagged_dequeue(rte_ring *ring, tagged_packet *to, unsigned n) noexcept
{
    return rte_ring_sc_dequeue_burst_elem(ring, to, sizeof *to, n, nullptr);
}

} // namespace halfpoll
