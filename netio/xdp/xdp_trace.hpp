// SPDX-License-Identifier: BSD-3-Clause
//
// The kernel's XDP tracepoints, through DPDK's tracing. They are enabled if the EAL was started with a --trace that
// matches their names. An event stands for a run of packets; the kernel's stands for one packet.
#pragma once

#include <halfpoll/trace.hpp>
#include <halfpoll/xdp_map.hpp>

#include <rte_branch_prediction.h>

namespace halfpoll
{

/// Whether events are recorded. Called once per burst or flush.
inline bool xdp_trace_enabled() noexcept { return unlikely(trace_enabled()); }

// Called only if xdp_trace_enabled().
void trace_xdp_exception(const net_device &dev, unsigned act, unsigned packets) noexcept;
/// `err` is 0, or a negative errno: then the event is xdp_redirect_err.
void trace_xdp_redirect(const net_device &from, const halfpoll_xdp_target &to, int err, unsigned packets) noexcept;
void trace_xdp_devmap_xmit(const net_device &from, const net_device &to, unsigned sent, unsigned drops) noexcept;
void trace_xdp_cpumap_enqueue(unsigned cpu, unsigned to_cpu, unsigned processed, unsigned drops) noexcept;
void trace_xdp_cpumap_kthread(unsigned cpu, unsigned processed, unsigned pass) noexcept;

} // namespace halfpoll
