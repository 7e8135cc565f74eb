// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <rte_mbuf.h>

#include <cstdint>

namespace halfpoll
{

inline std::uint8_t *frame_of(rte_mbuf *m) noexcept { return rte_pktmbuf_mtod(m, std::uint8_t *); }

/// Cuts a packet off after `length` bytes, in whichever segment they end, and frees the segments behind.
void trim(rte_mbuf *m, std::uint32_t length) noexcept;
/// The slow part of pull(): moves bytes from later segments into the first.
bool pull_tail(rte_mbuf *m, unsigned want) noexcept;
/// Makes the first `want` bytes contiguous. Returns false if the packet is shorter, or if its first segment has no room
/// for them.
inline bool pull(rte_mbuf *m, unsigned want) noexcept { return m->data_len >= want || pull_tail(m, want); }

} // namespace halfpoll
