// SPDX-License-Identifier: BSD-3-Clause
#include "segments.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace halfpoll
{

void trim(rte_mbuf *m, std::uint32_t length) noexcept
{
    m->pkt_len = length;
    m->nb_segs = 1;
    rte_mbuf *last = m;
    while (last->data_len < length) {
        length -= last->data_len;
        last = last->next;
        m->nb_segs++;
    }
    last->data_len = static_cast<std::uint16_t>(length);
    rte_pktmbuf_free(std::exchange(last->next, nullptr));
}

bool pull_tail(rte_mbuf *m, unsigned want) noexcept
{
    std::uint32_t missing = want - m->data_len;
    if (m->pkt_len < want || rte_pktmbuf_tailroom(m) < missing) {
        return false;
    }
    while (missing != 0) {
        rte_mbuf *next = m->next;
        const std::uint16_t n = static_cast<std::uint16_t>(std::min<std::uint32_t>(missing, next->data_len));
        std::memcpy(frame_of(m) + m->data_len, frame_of(next), n);
        m->data_len = static_cast<std::uint16_t>(m->data_len + n);
        next->data_off = static_cast<std::uint16_t>(next->data_off + n);
        next->data_len = static_cast<std::uint16_t>(next->data_len - n);
        missing -= n;
        if (next->data_len == 0) {
            m->next = next->next;
            m->nb_segs--;
            rte_pktmbuf_free_seg(next);
        }
    }
    return true;
}

} // namespace halfpoll
