// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/backlog.hpp>
#include <halfpoll/local_lock.hpp>
#include <halfpoll/net_core.hpp>

#include <rte_branch_prediction.h>

namespace halfpoll
{

/// The NAPI poll function of an rx queue (napi is the first member of rx_queue), and its interrupt operations.
int net_rx_poll(napi_struct &napi, int budget) noexcept;
extern const napi_irq_ops net_rx_irq_ops;

/// Delivers packets to the receive handler; drops them if there is none. Takes ownership. Home CPU of `cpu`, in a
/// softirq.
inline void net_deliver(net_cpu &cpu, net_device &in, rte_mbuf **pkts, unsigned n) noexcept
{
    HALFPOLL_LOCK_CHECK(expect_none("delivery"));
    if (const rx_handler handler = cpu.core->handler(); likely(handler != nullptr)) {
        handler(cpu.core->handler_ctx(), cpu, in, pkts, n);
    } else {
        drop_packets(cpu, DROP_NO_HANDLER, pkts, n);
    }
}

/// The NAPI poll function of a CPU's hand-over rings.
int handover_poll(napi_struct &napi, int budget) noexcept;
/// Serves the packets that are in a CPU's hand-over rings now. On that CPU, or on the CPU that serves it while it is
/// offline; between polls.
void handover_drain(net_cpu &cpu) noexcept;

/// Stores the choices in the table, which stays in place because other threads may be reading it. Control thread.
void route_tx(net_device &dev, const std::vector<tx_choice> &choices);

/// The NAPI poll function of a CPU's backlog.
int process_backlog(napi_struct &napi, int quota) noexcept;
/// Schedules the backlog of each target that got packets in this turn and has gone idle (softnet_data::send_rps_ipi).
void send_rps_ipi(softnet_data &sd) noexcept;

/// Says that the packets delivered until defer_end() were received by CPU `receiver`. On the delivering CPU.
inline void defer_begin(net_cpu &cpu, unsigned receiver) noexcept
{
    if (unlikely(cpu.core->skb_defer_max() != 0) && cpu.core->cpu_active(receiver)) {
        cpu.receiver = receiver;
    }
}
/// Publishes the segments that were freed for that CPU.
void defer_publish(net_cpu &cpu) noexcept;
inline void defer_end(net_cpu &cpu) noexcept
{
    if (unlikely(cpu.receiver != cpu.id)) {
        defer_publish(cpu);
    }
}
/// Takes back the segments that other CPUs have freed. On that CPU.
void defer_take(net_cpu &cpu) noexcept;
inline void defer_take_waiting(net_cpu &cpu) noexcept
{
    if (unlikely(cpu.core->skb_defer_max() != 0) && cpu.defer_waits.load(std::memory_order_relaxed)) {
        defer_take(cpu);
    }
}

/// Positions of the hand-over ring from CPU `from` to `owner`: packets put and packets taken. Both wrap. Any CPU: it
/// sees at least what was handed over before any other event that it has seen.
struct handover_place {
    std::uint32_t put, taken;
};
handover_place handover_at(const net_core &core, unsigned from, unsigned owner) noexcept;
/// Whether packets from CPU `from` wait in any hand-over ring. Any CPU.
bool handover_waits(const net_core &core, unsigned from) noexcept;

/// Hands packets over to the CPU that owns the tx queue of `cpu`. Takes ownership. Home CPU of `cpu`.
void handover_xmit(net_cpu &cpu, net_device &dev, rte_mbuf **pkts, unsigned n) noexcept;
/// Creates a hand-over ring; the numbers are for the message. Throws `error`. Control thread.
rte_ring *handover_ring_create(unsigned target, unsigned producer);
/// Frees the ring and the packets in it. Control thread.
void handover_ring_free(rte_ring *ring) noexcept;

/// Offers packets to full rings again. hrtimer function of net_cpu::xmit_retry.
void xmit_retry_timer(hrtimer &timer) noexcept;
/// Removes a device's queue from the CPU. `send`: offers the staged packets to the driver once more; the others are
/// dropped. Home CPU of `cpu`.
void xmit_remove(net_cpu &cpu, net_device &dev, bool send) noexcept;
/// Length in bytes of the longest frame that a device takes: MTU, link header and two VLAN tags.
std::uint32_t xmit_max_frame(const net_device &dev) noexcept;

} // namespace halfpoll
