// SPDX-License-Identifier: BSD-3-Clause
//
// What the runtime emits. Any thread that has a lcore id; of others nothing is traced, since DPDK would never free
// their buffers.
#pragma once

#include <halfpoll/napi.hpp>
#include <halfpoll/softirq.hpp>
#include <halfpoll/trace.hpp>

#include <cstdint>

namespace halfpoll
{

// Only if trace_enabled().
void trace_softirq_entry(softirq_vec vec) noexcept;
void trace_softirq_exit(softirq_vec vec) noexcept;
/// The event of a queue.
void trace_irq_handler_entry(const napi_struct &napi) noexcept;
void trace_napi_poll(const napi_struct &napi, int work, int budget) noexcept;
/// The caller is about to wait for `holder` (thread id), to which it lends its priority if that is higher.
void trace_contention_begin(const void *lock, const char *name, std::uint32_t holder) noexcept;
void trace_contention_end(const void *lock, const char *name) noexcept;
/// The caller wakes a thread of that name.
void trace_sched_wakeup(const char *comm, int fifo_priority) noexcept;
/// The caller is about to sleep; it runs again.
void trace_sched_block() noexcept;
void trace_sched_run() noexcept;

/// The caller's priority has changed.
void trace_forget_priority() noexcept;
/// Events `trace_begin` and `trace_end`. From the first on each thread begins its buffer anew; threads that have
/// nothing to say leave in theirs what they said before. Control thread.
void trace_mark_begin() noexcept;
void trace_mark_end() noexcept;

/// Exclude each other: threads whose first event makes the EAL allocate, and who goes through all buffers. The EAL's
/// spinlock alone would let an urgent thread spin for ever for one that it has preempted.
class trace_memory_lock
{
public:
    trace_memory_lock() noexcept;
    ~trace_memory_lock();
    trace_memory_lock(const trace_memory_lock &) = delete;
    trace_memory_lock &operator=(const trace_memory_lock &) = delete;
};

} // namespace halfpoll
