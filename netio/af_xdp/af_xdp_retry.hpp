// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/ktime.hpp>

#include <cerrno>
#include <chrono>
#include <thread>

namespace halfpoll
{

/// Calls `attempt` until it returns a value other than -EBUSY, for two seconds at most, and returns the last value. The
/// kernel frees the buffer pool of a queue in the background after its socket was closed. Control thread; sleeps.
template <typename Attempt>
int retry_while_busy(Attempt attempt)
{
    const ktime_t deadline = ktime_get() + 2 * NSEC_PER_SEC;
    for (;;) {
        const int result = attempt();
        if (result != -EBUSY || ktime_get() >= deadline) {
            return result;
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
}

} // namespace halfpoll
