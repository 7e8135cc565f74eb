// SPDX-License-Identifier: BSD-3-Clause
#include "input.hpp"

#include <algorithm>
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

void input::flush() noexcept
{
    const unsigned n = count_;
    count_ = 0;
    if (n == 0) {
        return;
    }
    if (fate_.kind == fate::sent) {
        dev_queue_xmit(cpu_, *fate_.dev, pkts_, n);
    } else if (fate_.kind == fate::dropped) {
        stat_add(stats.dropped[fate_.detail], n);
        drop_packets(cpu_, fate_.detail, pkts_, n);
    } else {
        flush_punted(n);
    }
}

void input::flush_punted(unsigned n) noexcept
{
    if (slow_ == nullptr) {
        stat_add(stats.dropped[DROP_NO_SHADOW], n);
        return drop_packets(cpu_, DROP_NO_SHADOW, pkts_, n);
    }
    if (from != nullptr && from->tags() != 0) {
        std::for_each_n(pkts_, n, [this](rte_mbuf *m) { vlan_restore(*from, m); });
    }
    const unsigned taken = slow_->punt(cpu_, in_, static_cast<punt_class>(fate_.detail), pkts_, n);
    stat_add(stats.punted[fate_.detail], taken);
    stat_add(stats.dropped[DROP_PUNT_POLICED], n - taken);
    punted_ = true;
}

bool input::sample_one_arm(rte_mbuf *m) noexcept
{
    if (slow_ == nullptr || !slow_->grant(cpu_, PUNT_REDIRECT)) {
        return false;
    }
    punt(PUNT_REDIRECT, m);
    return true;
}

void input::finish() noexcept
{
    flush();
    if (punted_) {
        slow_->punt_flush(cpu_);
    }
}

void input::rewrite(const adjacency &adj, std::uint32_t l3_len, rte_mbuf *m) noexcept
{
    const unsigned grow = adj.rewrite_len - eth_len;
    if (m->pkt_len > eth_len + l3_len) {
        trim(m, eth_len + l3_len);
    }
    std::uint8_t *frame = frame_of(m);
    if (grow != 0) {
        frame = reinterpret_cast<std::uint8_t *>(rte_pktmbuf_prepend(m, grow));
        if (frame == nullptr) {
            return drop(DROP_NOMEM, m);
        }
    }
    std::memcpy(frame, adj.rewrite, adj.rewrite_len);
    xmit(*adj.dev, m);
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
