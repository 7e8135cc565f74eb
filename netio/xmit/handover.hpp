// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/net_core.hpp>

namespace halfpoll
{

/// The NAPI poll function of a CPU's hand-over rings.
int handover_poll(napi_struct &napi, int budget) noexcept;
/// Serves the packets that are in a CPU's hand-over rings now. On that CPU, or on the CPU that serves it while it is
/// offline; between polls.
void handover_drain(net_cpu &cpu) noexcept;

/// Positions of the hand-over ring from CPU `from` to `owner`: packets put, and packets that the owner has sent, except
/// those that it keeps (xmit_kept_at()). Both wrap. Any CPU: it sees at least what was handed over before any other
/// event that it has seen.
struct handover_place {
    std::uint32_t put, sent;
};
handover_place handover_at(const net_core &core, unsigned from, unsigned owner) noexcept;
/// Whether packets from CPU `from` wait in any hand-over ring, or are being sent by its owner. Any CPU.
bool handover_waits(const net_core &core, unsigned from) noexcept;

/// Hands packets over to the CPU that owns the tx queue of `cpu`. Takes ownership. Home CPU of `cpu`.
void handover_xmit(net_cpu &cpu, net_device &dev, rte_mbuf **pkts, unsigned n) noexcept;
/// Number of packets that net_core::foreign_xmit() would accept now. The thread that `producer` belongs to.
unsigned foreign_room(const net_core &core, unsigned producer, const net_device &dev) noexcept;
/// Creates a hand-over ring; the numbers are for the message. Throws `error`. Control thread.
rte_ring *handover_ring_create(unsigned target, unsigned producer);
/// Frees the ring and the packets in it. Control thread.
void handover_ring_free(rte_ring *ring) noexcept;

} // namespace halfpoll
