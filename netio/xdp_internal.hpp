// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/net_core.hpp>
#include <halfpoll/xdp_program.h>

namespace halfpoll
{

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
