// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/net_core.hpp>

namespace halfpoll
{

/// Offers packets to full rings again. hrtimer function of net_cpu::xmit_retry.
void xmit_retry_timer(hrtimer &timer) noexcept;
/// Removes a device's queue from the CPU. `send`: offers the staged packets to the driver once more; the others are
/// dropped. Home CPU of `cpu`.
void xmit_remove(net_cpu &cpu, net_device &dev, bool send) noexcept;
/// Length in bytes of the longest frame that a device takes: MTU, link header and two VLAN tags.
std::uint32_t xmit_max_frame(const net_device &dev) noexcept;

} // namespace halfpoll
