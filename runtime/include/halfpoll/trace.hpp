// SPDX-License-Identifier: BSD-3-Clause
//
// Tracepoints, by DPDK's rte_trace (docs/tracing.md). They are on if the EAL was started with a --trace that matches
// their names, and from trace_begin() to trace_end().
#pragma once

#include <halfpoll/error.hpp>
#include <halfpoll/softirq.hpp>

#include <atomic>
#include <string>

namespace halfpoll
{

class runtime;

/// True while a tracepoint is on. Written by the control thread, read by any thread; relaxed, since one event more or
/// less does not matter.
extern std::atomic<bool> tracing;

/// The check before every event. While nothing is traced it costs a load and a branch that is not taken. Any thread.
inline bool trace_enabled() noexcept { return tracing.load(std::memory_order_relaxed); }

/// Emits a softirq_raise event. Only if trace_enabled(). In a section.
void trace_softirq_raise(softirq_vec vec) noexcept;

/// Asks the EAL whether a tracepoint is on, and switches the emission of events accordingly. The runtime's constructor
/// does so; an embedder calls it after a later rte_trace_regexp() or rte_trace_pattern(). Control thread.
void trace_update(runtime &rt) noexcept;

/// Switches on the tracepoints whose names match `events`, a basic regular expression (regex(7)); tracepoints of DPDK
/// and of the embedder count too. Each thread keeps its first events, as many as fit in its buffer (--trace-bufsz, 1
/// MiB by default). Earlier events are discarded. Control thread. Throws `error` if `events` is empty or no regular
/// expression, or matches no tracepoint.
void trace_begin(runtime &rt, const std::string &events);
/// Switches off the tracepoints that match `events`, except those that match `keep` (empty: none), and writes the
/// recorded events in CTF to a folder below the EAL's --trace-dir, which is the same in each call. Returns its path.
/// Control thread. Throws `error` if the trace cannot be written.
std::string trace_end(runtime &rt, const std::string &events, const std::string &keep = {});
/// If tracing is on, writes the events recorded so far, and emits none from then on until trace_update(). The
/// destructors of runtime and net_core do so, because the EAL discards a thread's events when the thread ends. Control
/// thread.
void trace_finish(runtime &rt) noexcept;

} // namespace halfpoll
