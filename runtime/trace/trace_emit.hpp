// SPDX-License-Identifier: BSD-3-Clause
//
// The runtime's events. Any thread may call these functions. Threads without an lcore id emit nothing, since DPDK would
// never free their buffers.
#pragma once

#include <halfpoll/softirq.hpp>
#include <halfpoll/trace.hpp>

#include <cstdint>

namespace halfpoll
{

struct napi_struct;

// Called only if trace_enabled().
void trace_softirq_entry(softirq_vec vec) noexcept;
void trace_softirq_exit(softirq_vec vec) noexcept;
/// The interrupt of the instance's queue has fired.
void trace_irq_handler_entry(const napi_struct &napi) noexcept;
void trace_napi_poll(const napi_struct &napi, int work, int budget) noexcept;
/// The caller is about to wait for the lock that the thread with id `holder` holds. If the caller's priority is higher,
/// the holder gets it (sched_pi_setprio).
void trace_contention_begin(const void *lock, const char *name, std::uint32_t holder) noexcept;
void trace_contention_end(const void *lock, const char *name) noexcept;
/// The caller wakes the thread named `comm`.
void trace_sched_wakeup(const char *comm, int fifo_priority) noexcept;
/// The caller is about to sleep.
void trace_sched_block() noexcept;
/// The caller runs again.
void trace_sched_run() noexcept;

/// Called by a thread whose priority has changed: its next event looks the priority up.
void trace_forget_priority() noexcept;
/// Emit the events `trace_begin` and `trace_end`. At its first event after trace_mark_begin() each thread empties its
/// buffer. The buffer of a thread that emits no event keeps its old events, from before `trace_begin`. Control thread.
void trace_mark_begin() noexcept;
void trace_mark_end() noexcept;

/// Excludes from each other a thread whose first event makes the EAL allocate a buffer, and the thread that goes
/// through all buffers. With the EAL's spinlock alone, an urgent thread would spin for ever on a lock whose holder it
/// has preempted.
class trace_memory_lock
{
public:
    trace_memory_lock() noexcept;
    ~trace_memory_lock();
    trace_memory_lock(const trace_memory_lock &) = delete;
    trace_memory_lock &operator=(const trace_memory_lock &) = delete;
};

} // namespace halfpoll
