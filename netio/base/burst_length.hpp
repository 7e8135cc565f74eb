// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <rte_mbuf.h>

#include <cstdint>

namespace halfpoll
{

inline std::uint64_t bytes_of(rte_mbuf *const *pkts, unsigned n) noexcept
{
    std::uint64_t bytes = 0;
#pragma GCC unroll 4
    for (unsigned i = 0; i < n; ++i) {
        bytes += pkts[i]->pkt_len;
    }
    return bytes;
}

struct burst_length {
    std::uint64_t bytes = 0;
    bool oversize = false; ///< at least one packet is longer than the limit
};

/// One pass without branches and without a running maximum: a packet over the limit leaves a borrow in the upper half
/// of the difference.
inline burst_length length_of(rte_mbuf *const *pkts, unsigned n, std::uint32_t limit) noexcept
{
    std::uint64_t bytes = 0, borrow = 0;
    for (unsigned i = 0; i < n; ++i) {
        const std::uint64_t length = pkts[i]->pkt_len;
        bytes += length;
        borrow |= limit - length;
    }
    return {bytes, borrow >> 32 != 0};
}

} // namespace halfpoll
