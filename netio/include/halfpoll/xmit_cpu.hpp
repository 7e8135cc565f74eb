// SPDX-License-Identifier: BSD-3-Clause
//
// Not part of the API: net_cpu.hpp needs it.
#pragma once

#include <halfpoll/net_device.hpp>
#include <halfpoll/port.hpp>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>

namespace halfpoll
{

/// The packets that wait for one device on a CPU that owns a tx queue of it: staged during a poll, or kept because the
/// device's ring was full. Home CPU.
struct xmit_queue {
    net_device *dev = nullptr;
    tx_port *driver = nullptr; ///< the device's driver, or a shared_tx_queue that runtime CPUs of one logical CPU share
    std::uint16_t queue = 0;
    unsigned staged = 0;        ///< packets in `pkts`
    bool dirty = false;         ///< on the CPU's flush list
    bool doorbell_owed = false; ///< the driver has packets that the device does not know of yet
    bool full = false;     ///< the driver took less than it was offered; it is not tried again before the next flush
    bool xmitting = false; ///< the driver is being called; a send on this queue from inside it is recursion
    unsigned depth = 0;    ///< nested sends that have led to the staged packets; the maximum if they differ
    unsigned retries = 0;  ///< timer runs in a row that sent nothing
    /// dev_stats::tx_packets once the packets have left that were kept when xmit_cpu::kept changed last.
    std::uint64_t kept_until = 0;
    std::array<rte_mbuf *, 256> pkts;
};

/// A timer of a net_cpu, from which its function finds the net_cpu.
struct xmit_timer : hrtimer {
    net_cpu *cpu = nullptr;
};

/// Transmission on a CPU. Home CPU only, but for `kept`.
struct xmit_cpu {
    xmit_timer retry;                                            ///< offers packets to full rings again
    std::array<std::unique_ptr<xmit_queue>, MAX_IFINDEX> queues; ///< by ifindex; null: this CPU owns no tx queue of it
    /// Queues that this poll has to flush. A virtual device may put a queue here a second time while the queues are
    /// flushed.
    std::array<xmit_queue *, 2 * MAX_IFINDEX> flush_list{};
    unsigned flush_count = 0;
    unsigned recursion = 0;             ///< nesting depth of the present send, through virtual devices
    std::atomic<std::uint32_t> kept{0}; ///< odd: tx rings were full, and packets wait for room (xmit_kept_at())
};

} // namespace halfpoll
