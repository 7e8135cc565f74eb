// SPDX-License-Identifier: BSD-3-Clause
//
// The way of received packets to the backlog of another CPU (RPS), or of the same CPU:
//
//   producing CPU                                          target CPU
//   enqueue_to_backlog() -> staged -> net_rps_flush() ---> one ring per producer -> backlog NAPI -> rx handler
//                                     publish, one kick    (input)    (process)                       |
//   backlog_tail()                    backlog_head() <---------------------- delivered, transmissions flushed
#pragma once

#include <halfpoll/net_core.hpp>

#include <cstdint>

namespace halfpoll
{

/// Stages packets, a burst received from `in`, for `target`'s backlog, which may be that of `cpu` itself. Takes
/// ownership; packets that do not fit below netdev_max_backlog are dropped and counted (DROP_CPU_BACKLOG). Packets from
/// one CPU for one target keep their order. They are published by net_poll_end() at the end of the poll. Home CPU of
/// `cpu`, in a poll.
void enqueue_to_backlog(net_cpu &cpu, unsigned target, net_device &in, rte_mbuf **pkts, unsigned n) noexcept;
/// Publishes the staged packets and kicks each target once, unless the target polls its backlog already. The backlog of
/// `cpu` itself goes to its poll list and is served in the same dispatch. A target that goes idle at the same moment is
/// kicked at the end of the turn at the latest (kick_idle_backlogs()). Called by net_poll_end(). Home CPU of `cpu`.
void net_rps_flush(net_cpu &cpu) noexcept;

/// Positions on the way from `cpu` to `target`. backlog_tail(): packets staged so far. backlog_head(): packets
/// delivered so far, the transmissions of the handler offered to the devices. Both wrap: compare them by the signed
/// 32-bit difference. A flow may leave `target` when the head has reached the tail of the flow's last packet, and what
/// the handler sent is neither handed over nor kept for a full tx ring. Home CPU of `cpu`.
std::uint32_t backlog_tail(const net_cpu &cpu, unsigned target) noexcept;
std::uint32_t backlog_head(const net_cpu &cpu, unsigned target) noexcept;
/// Packets from all CPUs that wait for `target`, as far as they are visible to `cpu`. Home CPU of `cpu`.
std::uint32_t backlog_length(const net_cpu &cpu, unsigned target) noexcept;
/// Frees packets that are not enqueued for `target`, because of a flow limit or lack of room, and counts them there
/// (DROP_CPU_BACKLOG). Home CPU of `cpu`.
void drop_backlog(net_cpu &cpu, unsigned target, net_device &in, rte_mbuf **pkts, unsigned n) noexcept;

/// Delivers all packets that are visible in the backlog of `cpu` now, without regard to the budget. On `cpu`, or on the
/// CPU that serves it while it is offline; between polls.
void flush_backlog(net_cpu &cpu) noexcept;

/// Takes back the packets that this CPU received and that other CPUs freed (consume_packets()), into the calling
/// thread's cache of the pool. The polls of devices and of the backlog do so; a component that receives packets in a
/// poll of its own must call it. Home CPU of `cpu`.
void skb_defer_flush(net_cpu &cpu) noexcept;

/// The figures of /proc/net/softnet_stat for a CPU's backlog. Any thread. They belong to one moment only while no
/// packet moves.
struct backlog_stats {
    std::uint64_t dropped = 0;         ///< packets dropped on the way into this backlog
    std::uint32_t input_pkt_queue = 0; ///< packets that producers published and the backlog NAPI has not taken note of
    std::uint32_t process_queue = 0;   ///< packets that the backlog NAPI has taken note of and not delivered
};
backlog_stats backlog_stats_of(const net_cpu &cpu) noexcept;

} // namespace halfpoll
