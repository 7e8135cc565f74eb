// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/softnet_data.hpp>

namespace halfpoll
{

/// Hands an instance whose SCHED the caller has taken to its home CPU and wakes that. Any thread.
void napi_enqueue_remote(softnet_data &sd, napi_struct &napi) noexcept;

/// Something from another thread waits. Home CPU.
inline bool remote_pending(const softnet_data &sd) noexcept
{
    return sd.remote_napi.load(std::memory_order_relaxed) || sd.call_queue.load(std::memory_order_relaxed);
}

/// A call from another thread would interrupt a kernel's softirq. Here it has the dispatch that `began` then end early,
/// but one that is short all the same is not torn apart, so that calls in plenty do not stop the softirqs. Home CPU.
inline bool call_waits(const softnet_data &sd, ktime_t began) noexcept
{
    constexpr ktime_t PATIENCE = 100 * NSEC_PER_USEC;
    return sd.now - began >= PATIENCE && sd.call_queue.load(std::memory_order_relaxed);
}
/// Moves remotely scheduled instances to the poll list, oldest first, and runs the calls. Home CPU, not in a softirq.
/// True if calls ran, which may take long.
bool take_remote(softnet_data &sd) noexcept;

/// Passes the calls for an offline CPU on to the one that serves it, oldest first. The offline CPU's thread.
void forward_calls(softnet_data &from, softnet_data &to) noexcept;

/// Announces that the CPU is about to block: what was published before a kick_cpu() that did not see it is visible
/// afterwards. Home CPU.
void announce_sleep(softnet_data &sd) noexcept;

} // namespace halfpoll
