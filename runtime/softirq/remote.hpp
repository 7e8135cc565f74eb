// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/softnet_data.hpp>

namespace halfpoll
{

/// Queues an instance whose SCHED the caller has set on its home CPU `sd`, and wakes the CPU. Any thread.
void napi_enqueue_remote(softnet_data &sd, napi_struct &napi) noexcept;

/// True if an instance or a call from another thread waits. The CPU's own thread.
inline bool remote_pending(const softnet_data &sd) noexcept
{
    return sd.remote_napi.load(std::memory_order_relaxed) || sd.call_queue.load(std::memory_order_relaxed);
}

/// True if the dispatch that began at `began` is to end early for a call from another thread, which in the kernel would
/// interrupt the softirq. A dispatch has at least 100 us, so that frequent calls do not keep softirqs from running. In
/// a section.
inline bool call_waits(const softnet_data &sd, ktime_t began) noexcept
{
    constexpr ktime_t PATIENCE = 100 * NSEC_PER_USEC;
    return sd.now - began >= PATIENCE && sd.call_queue.load(std::memory_order_relaxed);
}
/// Moves remotely scheduled instances to the poll list, oldest first, and runs the calls, newest first. True if calls
/// ran, which may have taken long. On the CPU's own thread, in a section, not in a softirq.
bool take_remote(softnet_data &sd) noexcept;

/// Passes the calls for the offline CPU `from` on to its stand-in `to`, oldest first. On the own thread of `from`.
void forward_calls(softnet_data &from, softnet_data &to) noexcept;

/// Announces that the CPU is about to block. After it, the CPU sees what was published before any kick_cpu() that has
/// not seen the announcement. The CPU's own thread.
void announce_sleep(softnet_data &sd) noexcept;

} // namespace halfpoll
