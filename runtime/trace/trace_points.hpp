// SPDX-License-Identifier: BSD-3-Clause
//
// The runtime's tracepoints. Included where events are emitted, and in trace_register.cpp, where the inclusion after
// rte_trace_point_register.h describes them. Each event begins with the thread: its id, the logical CPU that it runs
// on, and its SCHED_FIFO priority (0: SCHED_OTHER).
#pragma once

#include <sys/types.h> // first: DPDK 22.11 uses ssize_t without it

#include <rte_trace_point.h>

#include <cstdint>

// clang-format off
#define HALFPOLL_TRACE_THREAD uint32_t tid, uint16_t cpu, int16_t prio
#define HALFPOLL_TRACE_EMIT_THREAD                                                                                     \
    rte_trace_point_emit_u32(tid); rte_trace_point_emit_u16(cpu); rte_trace_point_emit_i16(prio)

RTE_TRACE_POINT(tp_trace_begin, RTE_TRACE_POINT_ARGS(HALFPOLL_TRACE_THREAD), HALFPOLL_TRACE_EMIT_THREAD;)

RTE_TRACE_POINT(tp_trace_end, RTE_TRACE_POINT_ARGS(HALFPOLL_TRACE_THREAD), HALFPOLL_TRACE_EMIT_THREAD;)

RTE_TRACE_POINT(tp_softirq_raise, RTE_TRACE_POINT_ARGS(HALFPOLL_TRACE_THREAD, uint32_t vec),
                HALFPOLL_TRACE_EMIT_THREAD; rte_trace_point_emit_u32(vec);)

RTE_TRACE_POINT(tp_softirq_entry, RTE_TRACE_POINT_ARGS(HALFPOLL_TRACE_THREAD, uint32_t vec),
                HALFPOLL_TRACE_EMIT_THREAD; rte_trace_point_emit_u32(vec);)

RTE_TRACE_POINT(tp_softirq_exit, RTE_TRACE_POINT_ARGS(HALFPOLL_TRACE_THREAD, uint32_t vec),
                HALFPOLL_TRACE_EMIT_THREAD; rte_trace_point_emit_u32(vec);)

RTE_TRACE_POINT(tp_irq_handler_entry, RTE_TRACE_POINT_ARGS(HALFPOLL_TRACE_THREAD, const char *name),
                HALFPOLL_TRACE_EMIT_THREAD; rte_trace_point_emit_string(name);)

RTE_TRACE_POINT(tp_napi_poll,
                RTE_TRACE_POINT_ARGS(HALFPOLL_TRACE_THREAD, const char *name, int32_t work, int32_t budget),
                HALFPOLL_TRACE_EMIT_THREAD; rte_trace_point_emit_string(name); rte_trace_point_emit_i32(work);
                rte_trace_point_emit_i32(budget);)

RTE_TRACE_POINT(tp_contention_begin,
                RTE_TRACE_POINT_ARGS(HALFPOLL_TRACE_THREAD, const void *lock, const char *name, uint32_t holder),
                HALFPOLL_TRACE_EMIT_THREAD; rte_trace_point_emit_ptr(lock); rte_trace_point_emit_string(name);
                rte_trace_point_emit_u32(holder);)

RTE_TRACE_POINT(tp_contention_end, RTE_TRACE_POINT_ARGS(HALFPOLL_TRACE_THREAD, const void *lock, const char *name),
                HALFPOLL_TRACE_EMIT_THREAD; rte_trace_point_emit_ptr(lock); rte_trace_point_emit_string(name);)

RTE_TRACE_POINT(tp_sched_pi_setprio,
                RTE_TRACE_POINT_ARGS(HALFPOLL_TRACE_THREAD, uint32_t holder, int16_t oldprio, int16_t newprio),
                HALFPOLL_TRACE_EMIT_THREAD; rte_trace_point_emit_u32(holder); rte_trace_point_emit_i16(oldprio);
                rte_trace_point_emit_i16(newprio);)

RTE_TRACE_POINT(tp_sched_wakeup, RTE_TRACE_POINT_ARGS(HALFPOLL_TRACE_THREAD, const char *comm, int16_t target_prio),
                HALFPOLL_TRACE_EMIT_THREAD; rte_trace_point_emit_string(comm); rte_trace_point_emit_i16(target_prio);)

RTE_TRACE_POINT(tp_sched_block, RTE_TRACE_POINT_ARGS(HALFPOLL_TRACE_THREAD), HALFPOLL_TRACE_EMIT_THREAD;)

RTE_TRACE_POINT(tp_sched_run, RTE_TRACE_POINT_ARGS(HALFPOLL_TRACE_THREAD), HALFPOLL_TRACE_EMIT_THREAD;)
// clang-format on
