// SPDX-License-Identifier: BSD-3-Clause
#include "mbuf_stock.hpp"

#include <rte_mbuf.h>

#include <algorithm>
#include <cstring>

namespace halfpoll
{

namespace
{

/// Moves as many bytes as fit from the front of `from` to the end of an mbuf's data.
void append(rte_mbuf &m, std::span<const std::uint8_t> &from) noexcept
{
    const auto n = static_cast<std::uint16_t>(std::min<std::size_t>(from.size(), rte_pktmbuf_tailroom(&m)));
    if (n != 0) {
        std::memcpy(rte_pktmbuf_mtod_offset(&m, void *, m.data_len), from.data(), n);
        m.data_len = static_cast<std::uint16_t>(m.data_len + n);
        from = from.subspan(n);
    }
}

} // namespace

mbuf_stock::~mbuf_stock() { rte_pktmbuf_free_bulk(stock_.data(), stocked_); }

unsigned mbuf_stock::segments_of(std::size_t length) const noexcept
{
    const std::size_t room = rte_pktmbuf_data_room_size(pool_) - RTE_PKTMBUF_HEADROOM;
    return static_cast<unsigned>((length + room - 1) / room);
}

bool mbuf_stock::refill(unsigned want) noexcept
{
    const auto missing = static_cast<unsigned>(stock_.size()) - stocked_;
    if (stocked_ < want && rte_pktmbuf_alloc_bulk(pool_, stock_.data() + stocked_, missing) == 0) {
        stocked_ += missing;
    }
    return stocked_ >= want;
}

rte_mbuf *mbuf_stock::packet(std::span<const std::uint8_t> headers, std::span<const std::uint8_t> payload,
                             unsigned most) noexcept
{
    const std::size_t length = headers.size() + payload.size();
    const unsigned segments = segments_of(length);
    if (segments > most || segments == 0 || segments > stock_.size() || !refill(segments)) {
        return nullptr;
    }
    rte_mbuf *const head = stock_[stocked_ - 1];
    rte_mbuf *last = nullptr;
    for (unsigned i = 0; i < segments; ++i) {
        rte_mbuf *m = stock_[--stocked_];
        append(*m, headers);
        append(*m, payload);
        if (last != nullptr) {
            last->next = m;
        }
        last = m;
    }
    head->pkt_len = static_cast<std::uint32_t>(length);
    head->nb_segs = static_cast<std::uint16_t>(segments);
    return head;
}

} // namespace halfpoll
