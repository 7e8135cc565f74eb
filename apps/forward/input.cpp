// SPDX-License-Identifier: BSD-3-Clause
#include "input.hpp"

namespace halfpoll
{

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
        drop_packets(cpu_, fate_.detail, pkts_, n);
    } else if (slow_ == nullptr) {
        drop_packets(cpu_, DROP_NO_SHADOW, pkts_, n);
    } else {
        slow_->punt(cpu_, in_, static_cast<punt_class>(fate_.detail), pkts_, n);
        punted_ = true;
    }
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
        // Bytes behind the IP packet: link padding is left alone, more must not make it too long for the egress.
        const std::uint32_t surplus = m->pkt_len - eth_len - l3_len;
        if (m->pkt_len > std::uint32_t{adj.mtu} + eth_len && rte_pktmbuf_trim(m, surplus) != 0) {
            return punt(PUNT_OTHER, m);
        }
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

bool pull(rte_mbuf *m, unsigned want) noexcept
{
    return m->data_len >= want || (m->pkt_len >= want && rte_pktmbuf_linearize(m) == 0);
}

} // namespace halfpoll
