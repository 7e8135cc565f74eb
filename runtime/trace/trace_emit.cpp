// SPDX-License-Identifier: BSD-3-Clause
#define ALLOW_EXPERIMENTAL_API // as in trace_register.cpp
#include "trace_emit.hpp"

#include <halfpoll/current_tid.hpp>
#include <halfpoll/napi.hpp>

#include "trace_points.hpp"

#include <optional>
#include <pthread.h>
#include <rte_lcore.h>
#include <sched.h>

namespace halfpoll
{

std::atomic<bool> tracing{false};

namespace
{

/// A priority-inheriting mutex of the C library, since pi_lock emits events.
class pi_mutex
{
public:
    pi_mutex() noexcept
    {
        pthread_mutexattr_t attributes;
        pthread_mutexattr_init(&attributes);
        pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT);
        pthread_mutex_init(&mutex_, &attributes);
        pthread_mutexattr_destroy(&attributes);
    }
    void lock() noexcept { pthread_mutex_lock(&mutex_); }
    void unlock() noexcept { pthread_mutex_unlock(&mutex_); }

private:
    pthread_mutex_t mutex_; ///< never destroyed: threads may emit events until the process ends
};
pi_mutex memory_lock;

/// The number of trace_mark_begin() calls; relaxed: no other data depends on it.
std::atomic<std::uint32_t> trace_number{0};

/// The tracing state of one thread.
struct trace_self {
    std::uint32_t number = 0;   ///< `trace_number` at its last event
    std::int16_t priority = -1; ///< its SCHED_FIFO priority, 0: SCHED_OTHER; -1: not looked up yet
};
thread_local constinit trace_self self;

std::int16_t fifo_priority_of(std::uint32_t tid) noexcept
{
    sched_param param{};
    return sched_getparam(static_cast<pid_t>(tid), &param) == 0 ? static_cast<std::int16_t>(param.sched_priority) : 0;
}

/// Empties the buffer of the calling thread, which alone writes to it. Before its first event since trace_mark_begin().
void begin_buffer() noexcept
{
    self.number = trace_number.load(std::memory_order_relaxed);
    if (auto *buffer = static_cast<__rte_trace_header *>(RTE_PER_LCORE(trace_mem))) {
        buffer->offset = 0;
    }
}

/// Calls a tracepoint with the identity of the thread and `args`. Does nothing on a thread without an lcore id.
template <typename... Args>
void emit(void (*tracepoint)(std::uint32_t, std::uint16_t, std::int16_t, Args...), std::type_identity_t<Args>... args)
{
    if (rte_lcore_id() == LCORE_ID_ANY) {
        return;
    }
    if (self.number != trace_number.load(std::memory_order_relaxed)) {
        begin_buffer();
    }
    if (self.priority < 0) {
        self.priority = fifo_priority_of(0);
    }
    const int cpu = sched_getcpu();
    std::optional<trace_memory_lock> allocates;
    if (!RTE_PER_LCORE(trace_mem)) {
        allocates.emplace();
    }
    tracepoint(current_tid(), static_cast<std::uint16_t>(cpu < 0 ? 0 : cpu), self.priority, args...);
}

} // namespace

trace_memory_lock::trace_memory_lock() noexcept { memory_lock.lock(); }
trace_memory_lock::~trace_memory_lock() { memory_lock.unlock(); }

void trace_forget_priority() noexcept { self.priority = -1; }

void trace_mark_begin() noexcept
{
    trace_number.fetch_add(1, std::memory_order_relaxed);
    rte_trace_point_enable(&__tp_trace_begin);
    emit(tp_trace_begin);
    rte_trace_point_disable(&__tp_trace_begin);
}

void trace_mark_end() noexcept
{
    rte_trace_point_enable(&__tp_trace_end);
    emit(tp_trace_end);
    rte_trace_point_disable(&__tp_trace_end);
}

void trace_softirq_raise(softirq_vec vec) noexcept { emit(tp_softirq_raise, vec); }

void trace_softirq_entry(softirq_vec vec) noexcept { emit(tp_softirq_entry, vec); }

void trace_softirq_exit(softirq_vec vec) noexcept { emit(tp_softirq_exit, vec); }

void trace_irq_handler_entry(const napi_struct &napi) noexcept { emit(tp_irq_handler_entry, napi.name); }

void trace_napi_poll(const napi_struct &napi, int work, int budget) noexcept
{
    emit(tp_napi_poll, napi.name, work, budget);
}

void trace_contention_begin(const void *lock, const char *name, std::uint32_t holder) noexcept
{
    emit(tp_contention_begin, lock, name, holder);
    const std::int16_t before = fifo_priority_of(holder);
    if (before < self.priority) {
        emit(tp_sched_pi_setprio, holder, before, self.priority);
    }
}

void trace_contention_end(const void *lock, const char *name) noexcept { emit(tp_contention_end, lock, name); }

void trace_sched_wakeup(const char *comm, int fifo_priority) noexcept
{
    emit(tp_sched_wakeup, comm, static_cast<std::int16_t>(fifo_priority));
}

void trace_sched_block() noexcept { emit(tp_sched_block); }

void trace_sched_run() noexcept { emit(tp_sched_run); }

} // namespace halfpoll
