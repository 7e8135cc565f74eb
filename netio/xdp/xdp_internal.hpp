// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/net_core.hpp>
#include <halfpoll/xdp_program.h>

namespace halfpoll
{

struct xdp_queue;

/// How a packet's mbuf says that it has metadata, and of which length. Set before the first packet, constant after
/// that.
struct xdp_metadata {
    std::int32_t offset = 0;
    std::uint64_t flag = 0;
};
extern xdp_metadata xdp_meta;
/// Reserves the field and the flag, process-wide; does nothing when called again. Throws `error`. Control thread.
void xdp_init();

/// Adapts the XDP state of a device to its number of queues: new queues get the program of the last one. Called while
/// no queue is polled. Control thread.
void xdp_resize(net_device &dev);
/// Gives queues that were just opened the programs of their device, and the driver net_device::pass. Control thread.
void xdp_start(net_device &dev) noexcept;
/// Gives the driver net_device::pass, unless a queue has a program, which is to see all packets. Control thread.
void xdp_set_pass(net_device &dev) noexcept;
/// Runs the queue's program on 1 to NET_BURST packets and consumes those that do not pass. Returns how many pass; they
/// are at the front of `pkts`, in order. Home CPU, in a poll.
unsigned xdp_receive(rx_queue &q, xdp_queue &x, rte_mbuf **pkts, unsigned n) noexcept;

/// Value of halfpoll_xdp_burst::action for packets that xdp_do_redirect() has taken.
inline constexpr std::uint8_t XDP_TAKEN = 0xff;

/// Redirects the packets with action XDP_REDIRECT. A packet whose map has no such entry gets the action that its flags
/// name. All other packets are consumed (enqueued, or dropped and counted under their error) and marked XDP_TAKEN. Home
/// CPU, in a poll, which ends with xdp_do_flush().
void xdp_do_redirect(net_cpu &cpu, net_device &in, halfpoll_xdp_burst &burst) noexcept;
/// Sends the packets that redirects have enqueued: to devices, then to CPUs, then to sockets. The step POLL_END_XDP of
/// net_poll_end(). Home CPU.
void xdp_do_flush(net_cpu &cpu) noexcept;

} // namespace halfpoll
