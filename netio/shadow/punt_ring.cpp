// SPDX-License-Identifier: BSD-3-Clause
#define RTE_USE_C11_MEM_MODEL // acquire and release that a race checker understands; the machine code is the same
#include "punt_ring.hpp"
#include "netio/base/tagged_ring.hpp"

#include <rte_mbuf.h>

#include <algorithm>
#include <cstdlib>

namespace halfpoll
{

namespace
{

constexpr unsigned RING_SIZE_MAX = 1U << 20;

} // namespace

void punt_ring::discard::operator()(rte_ring *ring) const noexcept
{
    tagged_packet slot;
    while (tagged_dequeue(ring, &slot, 1) == 1) {
        rte_pktmbuf_free(slot.pkt);
    }
    std::free(ring);
}

void punt_ring::make(unsigned size)
{
    if (size == 0 || size > RING_SIZE_MAX) {
        throw error("slow path: ring_size " + std::to_string(size) + " is not possible; 1 to " +
                    std::to_string(RING_SIZE_MAX) + " is");
    }
    const std::size_t bytes = tagged_ring_bytes(rte_align32pow2(size + 1));
    auto *const ring = static_cast<rte_ring *>(std::aligned_alloc(RTE_CACHE_LINE_SIZE, bytes));
    if (!ring || rte_ring_init(ring, "punt", size, RING_F_SP_ENQ | RING_F_SC_DEQ | RING_F_EXACT_SZ) != 0) {
        std::free(ring);
        throw error("slow path: no memory for a ring of " + std::to_string(size) + " packets");
    }
    ring_.reset(ring);
    reserved_ = size / 4;
}

/// PUNT_KERNEL, which has no limit of its own, leaves half of the ring to the others.
unsigned punt_ring::room(punt_class c) const noexcept
{
    const bool is_reserved = c == PUNT_ARP_ND || c == PUNT_ROUTING;
    const unsigned free_slots = rte_ring_free_count(ring_.get());
    const unsigned left_to_others = is_reserved ? 0 : c == PUNT_KERNEL ? 2 * reserved_ : reserved_;
    return free_slots - std::min(free_slots, left_to_others);
}

unsigned punt_ring::put(shadow &to, punt_class c, rte_mbuf *const *pkts, unsigned n) noexcept
{
    return tagged_enqueue(ring_.get(), reinterpret_cast<std::uintptr_t>(&to), pkts, std::min(n, room(c)));
}

unsigned punt_ring::dequeue(rte_mbuf **pkts, shadow **to) noexcept
{
    tagged_packet slots[NET_BURST];
    const unsigned n = tagged_dequeue(ring_.get(), slots, NET_BURST);
    for (unsigned i = 0; i < n; ++i) {
        pkts[i] = slots[i].pkt;
        to[i] = reinterpret_cast<shadow *>(slots[i].tag);
    }
    return n;
}

bool punt_ring::empty() const noexcept { return rte_ring_empty(ring_.get()) != 0; }

} // namespace halfpoll
