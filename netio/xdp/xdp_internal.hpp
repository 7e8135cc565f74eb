// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/net_core.hpp>
#include <halfpoll/xdp_program.h>

namespace halfpoll
{

struct xdp_queue;

/// Where packets say that they have metadata. Set before the first packet, constant then.
struct xdp_metadata {
    std::int32_t offset = 0;
    std::uint64_t flag = 0;
};
extern xdp_metadata xdp_meta;
/// Reserves it, process-wide; again: nothing. Throws `error`. Control thread.
void xdp_init();

/// Makes a device's programs fit its number of queues: those that are new get the program of the last one. While no
/// queue is polled. Control thread.
void xdp_resize(net_device &dev);
/// Gives queues that were just opened the programs of their device. Control thread.
void xdp_start(net_device &dev) noexcept;
/// Runs the queue's program on 1 to NET_BURST packets and sees to those that do not pass. Returns how many do; they
/// are the first ones of `pkts` then, in order. Home CPU, in a poll.
unsigned xdp_receive(rx_queue &q, xdp_queue &x, rte_mbuf **pkts, unsigned n) noexcept;

/// In halfpoll_xdp_burst::action of packets that xdp_do_redirect() has taken.
inline constexpr std::uint8_t XDP_TAKEN = 0xff;

/// Sees to the packets with action XDP_REDIRECT: those whose map has no such entry get the action that their flags
/// name; all others are consumed (enqueued, or dropped and counted under their error) and marked XDP_TAKEN. Home CPU,
/// in a poll, which ends with xdp_do_flush().
void xdp_do_redirect(net_cpu &cpu, net_device &in, halfpoll_xdp_burst &burst) noexcept;
/// Sends what redirects have enqueued: devices, then CPUs, then sockets. xmit_flush() calls it first if
/// net_cpu::xdp_pending is set, which it clears. Home CPU.
void xdp_do_flush(net_cpu &cpu) noexcept;

} // namespace halfpoll
