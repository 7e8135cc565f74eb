// SPDX-License-Identifier: BSD-3-Clause
//
// Registers the tracepoints with the EAL before it starts. Tracing is experimental in DPDK 22.11; only this file and
// xdp_trace.cpp use it.
#define ALLOW_EXPERIMENTAL_API
#define typeof __typeof__ // DPDK's macros require GNU C

#include <sys/types.h>

#include <rte_trace_point_register.h>

#include "xdp_trace_points.hpp"

RTE_TRACE_POINT_REGISTER(tp_xdp_exception, xdp_exception)
RTE_TRACE_POINT_REGISTER(tp_xdp_redirect, xdp_redirect)
RTE_TRACE_POINT_REGISTER(tp_xdp_redirect_err, xdp_redirect_err)
RTE_TRACE_POINT_REGISTER(tp_xdp_devmap_xmit, xdp_devmap_xmit)
RTE_TRACE_POINT_REGISTER(tp_xdp_cpumap_enqueue, xdp_cpumap_enqueue)
RTE_TRACE_POINT_REGISTER(tp_xdp_cpumap_kthread, xdp_cpumap_kthread)
