// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>
#include <ctime>

namespace halfpoll
{

/// Nanoseconds of CLOCK_MONOTONIC, the kernel's ktime_t.
using ktime_t = std::int64_t;

inline constexpr ktime_t NSEC_PER_USEC = 1'000;
inline constexpr ktime_t NSEC_PER_MSEC = 1'000'000;
inline constexpr ktime_t NSEC_PER_SEC = 1'000'000'000;
inline constexpr ktime_t KTIME_MAX = INT64_MAX;

/// Where a runtime reads the time. Tests pass their own to move time by hand.
using clock_fn = ktime_t (*)() noexcept;

/// Any thread; answered by the vDSO, no system call.
inline ktime_t ktime_get() noexcept
{
    timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

} // namespace halfpoll
