// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/net_core.hpp>

namespace halfpoll
{

/// Offers packets to full rings again. hrtimer function of xmit_cpu::retry.
void xmit_retry_timer(hrtimer &timer) noexcept;
/// Removes a device's queue from the CPU. `send`: offers the staged packets to the driver once more; the others are
/// dropped. Home CPU of `cpu`.
void xmit_remove(net_cpu &cpu, net_device &dev, bool send) noexcept;
/// Length in bytes of the longest frame that a device takes: MTU, link header and two VLAN tags.
std::uint32_t xmit_max_frame(const net_device &dev) noexcept;

/// The state of the packets that a CPU keeps because a tx ring was full. A CPU keeps them before it publishes that they
/// are delivered or sent, and the state may say so for XMIT_RETRY_INTERVAL longer than it is true. Any CPU.
inline std::uint32_t xmit_kept_at(const net_cpu &cpu) noexcept
{
    return cpu.xmit.kept.load(std::memory_order_acquire); // pairs with publish_kept()
}
/// Whether a CPU keeps packets. Any CPU.
inline bool xmit_keeps(const net_cpu &cpu) noexcept { return (xmit_kept_at(cpu) & 1) != 0; }
/// Whether a CPU still keeps a packet that it kept in the state `at`. Any CPU.
inline bool xmit_keeps_since(const net_cpu &cpu, std::uint32_t at) noexcept
{
    const std::uint32_t now = xmit_kept_at(cpu);
    // publish_kept() waits for the packets that it finds at the change to the next state; they have left at the one
    // after that.
    return (now & 1) != 0 && (at & 1) != 0 && now - at < 4;
}

} // namespace halfpoll
