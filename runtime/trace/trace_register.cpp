// SPDX-License-Identifier: BSD-3-Clause
//
// Registers the tracepoints with the EAL, before it starts. Tracing is experimental in DPDK 22.11: only this file,
// trace_emit.cpp and trace_control.cpp of the runtime use it.
#define ALLOW_EXPERIMENTAL_API
#define typeof __typeof__ // DPDK's macros are written for GNU C

#include <sys/types.h>

#include <rte_trace_point_register.h>

#include "trace_points.hpp"

RTE_TRACE_POINT_REGISTER(tp_trace_begin, trace_begin)
RTE_TRACE_POINT_REGISTER(tp_trace_end, trace_end)
RTE_TRACE_POINT_REGISTER(tp_softirq_raise, softirq_raise)
RTE_TRACE_POINT_REGISTER(tp_softirq_entry, softirq_entry)
RTE_TRACE_POINT_REGISTER(tp_softirq_exit, softirq_exit)
RTE_TRACE_POINT_REGISTER(tp_irq_handler_entry, irq_handler_entry)
RTE_TRACE_POINT_REGISTER(tp_napi_poll, napi_poll)
RTE_TRACE_POINT_REGISTER(tp_contention_begin, contention_begin)
RTE_TRACE_POINT_REGISTER(tp_contention_end, contention_end)
RTE_TRACE_POINT_REGISTER(tp_sched_pi_setprio, sched_pi_setprio)
RTE_TRACE_POINT_REGISTER(tp_sched_wakeup, sched_wakeup)
RTE_TRACE_POINT_REGISTER(tp_sched_block, sched_block)
RTE_TRACE_POINT_REGISTER(tp_sched_run, sched_run)
