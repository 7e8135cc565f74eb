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

/// The clock of a runtime. Tests pass a function of their own, to advance time by hand.
using clock_fn = ktime_t (*)() noexcept;

/// The current time. Any thread; no system call, since the vDSO reads the clock.
inline ktime_t ktime_get() noexcept
{
    timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

} // namespace halfpoll
