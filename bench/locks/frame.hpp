// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/ktime.hpp>
#include <halfpoll/net_core.hpp>
#include <halfpoll/softnet_data.hpp>

#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_mbuf.h>

#include <cstdint>
#include <cstring>

/// IPv4 frames of 60 bytes. The type of service distinguishes urgent ones from bulk ones.
constexpr std::uint8_t TOS_BULK = 0x00, TOS_URGENT = 0xb8;
constexpr unsigned FRAME_LENGTH = 60;

inline rte_ipv4_hdr *ip_header(rte_mbuf *m) { return rte_pktmbuf_mtod_offset(m, rte_ipv4_hdr *, RTE_ETHER_HDR_LEN); }

/// Allocates n frames as a driver does: from the buffer cache of the CPU in whose section the caller is. False: too few
/// are left.
inline bool receive_frames(halfpoll::net_core &core, std::uint8_t tos, rte_mbuf **pkts, unsigned n) noexcept
{
    if (!core.cpu(halfpoll::this_softnet_data()->cpu).cache->alloc_raw(pkts, n)) {
        return false;
    }
    for (unsigned i = 0; i < n; ++i) {
        rte_mbuf *m = pkts[i];
        rte_pktmbuf_reset(m);
        m->data_len = FRAME_LENGTH;
        m->pkt_len = FRAME_LENGTH;
        rte_ether_hdr &eth = *rte_pktmbuf_mtod(m, rte_ether_hdr *);
        std::memset(&eth, 0, sizeof eth);
        eth.ether_type = RTE_BE16(RTE_ETHER_TYPE_IPV4);
        *ip_header(m) = {.version_ihl = 0x45, .type_of_service = tos, .total_length = RTE_BE16(46), .time_to_live = 64};
    }
    return true;
}

/// Changes a packet as a router does: MAC addresses, TTL and checksum.
inline void forward_frame(rte_mbuf *m) noexcept
{
    rte_ether_hdr &eth = *rte_pktmbuf_mtod(m, rte_ether_hdr *);
    eth.src_addr.addr_bytes[0] = 2;
    eth.dst_addr.addr_bytes[0] = 2;
    rte_ipv4_hdr &ip = *ip_header(m);
    --ip.time_to_live;
    ip.hdr_checksum = 0;
    ip.hdr_checksum = rte_ipv4_cksum(&ip);
}

/// The long handler's work for each frame: reads it repeatedly, for 5 us.
inline void look_for_long(const void *frame) noexcept
{
    const halfpoll::ktime_t end = halfpoll::ktime_get() + 5 * halfpoll::NSEC_PER_USEC;
    do {
        const std::uint16_t sum = rte_raw_cksum(frame, FRAME_LENGTH);
        asm volatile("" ::"r"(sum) : "memory");
    } while (halfpoll::ktime_get() < end);
}
