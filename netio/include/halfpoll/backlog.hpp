// SPDX-License-Identifier: BSD-3-Clause
//
// The way of received packets to another CPU (RPS), or back to the own CPU's backlog:
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

/// Stages packets (a burst received from `in`) for `target`'s backlog, the own CPU's too. Consumes all: what does not
/// fit below netdev_max_backlog is dropped and counted (DROP_CPU_BACKLOG). Packets from one CPU for one target keep
/// their order. Home CPU of `cpu`, in a poll: xmit_flush(), which ends it, publishes them.
void enqueue_to_backlog(net_cpu &cpu, unsigned target, net_device &in, rte_mbuf **pkts, unsigned n) noexcept;
/// Publishes what is staged and kicks the targets, each once and only if it does not look already: the own CPU's
/// backlog goes to its poll list and is served in the same dispatch. A target that stops looking at that very moment is
/// kicked at the end of the turn at the latest. xmit_flush() calls it. Home CPU.
void net_rps_flush(net_cpu &cpu) noexcept;

/// How far the way from `cpu` to `target` is: packets staged or put so far, and of these how many have been delivered,
/// what the handler sent flushed to the devices. Both wrap; compare by the signed 32-bit difference. A flow may leave
/// `target` when head has reached the tail of the flow's last packet. Home CPU of `cpu`.
std::uint32_t backlog_tail(const net_cpu &cpu, unsigned target) noexcept;
std::uint32_t backlog_head(const net_cpu &cpu, unsigned target) noexcept;
/// Packets that wait for `target`, from all CPUs, as far as they are visible to `cpu`. Home CPU of `cpu`.
std::uint32_t backlog_length(const net_cpu &cpu, unsigned target) noexcept;
/// Frees packets that were not enqueued for `target`, and counts them there (flow limit, or no room). Home CPU of
/// `cpu`.
void drop_backlog(net_cpu &cpu, unsigned target, net_device &in, rte_mbuf **pkts, unsigned n) noexcept;

/// Delivers everything that is visible in the CPU's backlog now, whatever the budget. On that CPU, or the one that
/// serves it; between polls.
void flush_backlog(net_cpu &cpu) noexcept;

/// Takes back the packets that this CPU received and that others are done with (consume_packets()) into the calling
/// thread's cache of the pool. The polls of devices and of the backlog do so; for who receives in a poll of his own. On
/// that CPU.
void skb_defer_flush(net_cpu &cpu) noexcept;

/// What /proc/net/softnet_stat shows of a CPU's backlog. Any thread; figures of one moment only if nothing moves.
struct backlog_stats {
    std::uint64_t dropped = 0;         ///< on the way into this backlog
    std::uint32_t input_pkt_queue = 0; ///< put by producers, not yet looked at
    std::uint32_t process_queue = 0;   ///< looked at, not yet delivered
};
backlog_stats backlog_stats_of(const net_cpu &cpu) noexcept;

} // namespace halfpoll
