// SPDX-License-Identifier: BSD-3-Clause
#include "burst_verdicts.hpp"
#include "segments.hpp"
#include "vlan_tags.hpp"

#include <halfpoll/stat_add.hpp>

#include <algorithm>
#include <cstring>

namespace halfpoll
{

void burst_verdicts::flush() noexcept
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

void burst_verdicts::flush_punted(unsigned n) noexcept
{
    if (slow_ == nullptr) {
        stat_add(stats.dropped[DROP_NO_SHADOW], n);
        return drop_packets(cpu_, DROP_NO_SHADOW, pkts_, n);
    }
    if (from != nullptr && from->tags() != 0) {
        std::for_each_n(pkts_, n, [this](rte_mbuf *m) { vlan_restore(*from, m); });
    }
    const punt_result result = slow_->punt(cpu_, in_, static_cast<punt_class>(fate_.detail), pkts_, n);
    stat_add(stats.punted[fate_.detail], result.queued);
    stat_add(stats.dropped[DROP_PUNT_POLICED], result.policed);
    stat_add(stats.dropped[DROP_PUNT_FULL], result.full);
    stat_add(stats.dropped[DROP_DEV_READY], result.no_shadow);
    punted_ = true;
}

bool burst_verdicts::sample_one_arm(rte_mbuf *m) noexcept
{
    if (slow_ == nullptr || !slow_->grant(cpu_, PUNT_REDIRECT)) {
        return false;
    }
    punt(PUNT_REDIRECT, m);
    return true;
}

void burst_verdicts::finish() noexcept
{
    flush();
    if (punted_) {
        slow_->punt_flush(cpu_);
    }
}

void burst_verdicts::rewrite(const adjacency &adj, std::uint32_t l3_len, rte_mbuf *m) noexcept
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

} // namespace halfpoll
