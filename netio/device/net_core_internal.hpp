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

/// To the receive handler; without one they are dropped. Consumes them. Home CPU, in a softirq.
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
/// Serves what is in a CPU's hand-over rings now. On that CPU, or the one that serves it; between polls.
void handover_drain(net_cpu &cpu) noexcept;

/// Fills the table, which stays where it is: other threads may be reading it. Control thread.
void route_tx(net_device &dev, const std::vector<tx_choice> &choices);

/// The NAPI poll function of a CPU's backlog.
int process_backlog(napi_struct &napi, int quota) noexcept;
/// Sees to it that whoever was given packets in this turn looks at them (softnet_data::send_rps_ipi).
void send_rps_ipi(softnet_data &sd) noexcept;

/// What is delivered from here to defer_end() was received by another CPU. On the delivering CPU.
inline void defer_begin(net_cpu &cpu, unsigned receiver) noexcept
{
    if (unlikely(cpu.core->skb_defer_max() != 0) && cpu.core->cpu_active(receiver)) {
        cpu.receiver = receiver;
    }
}
/// Publishes what was freed for that CPU.
void defer_publish(net_cpu &cpu) noexcept;
inline void defer_end(net_cpu &cpu) noexcept
{
    if (unlikely(cpu.receiver != cpu.id)) {
        defer_publish(cpu);
    }
}
/// Takes back what others have freed. On that CPU.
void defer_take(net_cpu &cpu) noexcept;
inline void defer_take_waiting(net_cpu &cpu) noexcept
{
    if (unlikely(cpu.core->skb_defer_max() != 0) && cpu.defer_waits.load(std::memory_order_relaxed)) {
        defer_take(cpu);
    }
}

/// How many packets CPU `from` has handed to `owner`, and how many of them that has taken; both wrap. Any CPU; it knows
/// of what was handed over before something else that it knows of.
struct handover_place {
    std::uint32_t put, taken;
};
handover_place handover_at(const net_core &core, unsigned from, unsigned owner) noexcept;
/// Some wait.
bool handover_waits(const net_core &core, unsigned from) noexcept;

/// Sends by the owner of the device's queue. Home CPU.
void handover_xmit(net_cpu &cpu, net_device &dev, rte_mbuf **pkts, unsigned n) noexcept;
/// A hand-over ring; the numbers are for the message. Throws `error`. Control thread.
rte_ring *handover_ring_create(unsigned target, unsigned producer);
/// Frees what is in it, too. Control thread.
void handover_ring_free(rte_ring *ring) noexcept;

/// Tries full rings again. hrtimer function of net_cpu::xmit_retry.
void xmit_retry_timer(hrtimer &timer) noexcept;
/// Takes a device's queue out of the CPU's books; `send`: offers what is staged to the driver once more. Home CPU.
void xmit_remove(net_cpu &cpu, net_device &dev, bool send) noexcept;
/// Longest frame that a device takes: layer 2 header and two VLAN tags on top of the MTU.
std::uint32_t xmit_max_frame(const net_device &dev) noexcept;

} // namespace halfpoll
