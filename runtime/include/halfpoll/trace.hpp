// SPDX-License-Identifier: BSD-3-Clause
//
// Tracepoints, through DPDK's rte_trace (docs/tracing.md): on if the EAL was started with a --trace that matches their
// names, or from trace_begin() to trace_end().
#pragma once

#include <halfpoll/error.hpp>
#include <halfpoll/softirq.hpp>

#include <atomic>
#include <string>

namespace halfpoll
{

class runtime;

/// Something is traced. Written by the control thread, read by all; relaxed: an event more or less does not matter.
extern std::atomic<bool> tracing;

/// What precedes every event: a load and a branch that is not taken.
inline bool trace_enabled() noexcept { return tracing.load(std::memory_order_relaxed); }

/// Only if trace_enabled(). In a section.
void trace_softirq_raise(softirq_vec vec) noexcept;

/// Looks whether the EAL traces now, which runtimes do when they begin; for those who use rte_trace_regexp() or
/// rte_trace_pattern() themselves later on. Control thread.
void trace_update(runtime &rt) noexcept;

/// Switches on the tracepoints whose names match a basic regular expression (regex(7)), those of DPDK and of the
/// embedder too. Each thread keeps its first events, as many as fit in its buffer (--trace-bufsz, 1 MiB); what was
/// traced before is forgotten. Throws `error`: no expression, or nothing matches. Control thread.
void trace_begin(runtime &rt, const std::string &events);
/// Switches them off, but for those that match `keep` (empty: none), and writes what was traced: in CTF, to a folder
/// below the EAL's --trace-dir that is the same one each time. Returns its path. Throws `error`. Control thread.
std::string trace_end(runtime &rt, const std::string &events, const std::string &keep = {});
/// Writes what was traced so far, if something is, and emits nothing more until trace_update(): the EAL forgets a
/// thread's events when it ends. Runtimes and net_cores do it when they end. Control thread.
void trace_finish(runtime &rt) noexcept;

} // namespace halfpoll
