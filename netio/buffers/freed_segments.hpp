// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <rte_mbuf.h>

namespace halfpoll
{

/// Gives up the caller's reference to each segment of n packets. Calls `put` with every segment that has no other
/// reference: it is as rte_pktmbuf_prefree_seg() leaves it, ready for its mempool.
template <typename F>
inline void for_freed_segments(rte_mbuf **pkts, unsigned n, F put) noexcept
{
    for (unsigned i = 0; i < n; ++i) {
        for (rte_mbuf *m = pkts[i], *next; m; m = next) {
            next = m->next;
            if (rte_mbuf *freed = rte_pktmbuf_prefree_seg(m)) {
                put(freed);
            }
        }
    }
}

} // namespace halfpoll
