// SPDX-License-Identifier: BSD-3-Clause
//
// Included twice: where events are recorded, and (after rte_trace_point_register.h) where they are described.
#pragma once

#include <sys/types.h> // first: DPDK 22.11 uses ssize_t without it

#include <rte_trace_point.h>

#include <cstdint>

RTE_TRACE_POINT(tp_xdp_exception, RTE_TRACE_POINT_ARGS(uint32_t ifindex, uint32_t act, uint32_t packets),
                rte_trace_point_emit_u32(ifindex);
                rte_trace_point_emit_u32(act); rte_trace_point_emit_u32(packets);)

RTE_TRACE_POINT(tp_xdp_redirect,
                RTE_TRACE_POINT_ARGS(uint32_t ifindex, const char *map, uint32_t map_index, uint32_t packets),
                rte_trace_point_emit_u32(ifindex);
                rte_trace_point_emit_string(map); rte_trace_point_emit_u32(map_index);
                rte_trace_point_emit_u32(packets);)

RTE_TRACE_POINT(tp_xdp_redirect_err,
                RTE_TRACE_POINT_ARGS(uint32_t ifindex, const char *map, uint32_t map_index, int32_t err,
                                     uint32_t packets),
                rte_trace_point_emit_u32(ifindex);
                rte_trace_point_emit_string(map); rte_trace_point_emit_u32(map_index); rte_trace_point_emit_i32(err);
                rte_trace_point_emit_u32(packets);)

RTE_TRACE_POINT(tp_xdp_devmap_xmit,
                RTE_TRACE_POINT_ARGS(uint32_t from_ifindex, uint32_t to_ifindex, uint32_t sent, uint32_t drops),
                rte_trace_point_emit_u32(from_ifindex);
                rte_trace_point_emit_u32(to_ifindex); rte_trace_point_emit_u32(sent); rte_trace_point_emit_u32(drops);)

RTE_TRACE_POINT(tp_xdp_cpumap_enqueue,
                RTE_TRACE_POINT_ARGS(uint32_t cpu, uint32_t to_cpu, uint32_t processed, uint32_t drops),
                rte_trace_point_emit_u32(cpu);
                rte_trace_point_emit_u32(to_cpu); rte_trace_point_emit_u32(processed); rte_trace_point_emit_u32(drops);)

RTE_TRACE_POINT(tp_xdp_cpumap_kthread, RTE_TRACE_POINT_ARGS(uint32_t cpu, uint32_t processed, uint32_t xdp_pass),
                rte_trace_point_emit_u32(cpu);
                rte_trace_point_emit_u32(processed); rte_trace_point_emit_u32(xdp_pass);)
