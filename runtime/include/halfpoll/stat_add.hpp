// SPDX-License-Identifier: BSD-3-Clause
//
// Not part of the API: the counters in the public headers are read by anyone, and written by their owners with this.
#pragma once

#include <atomic>
#include <cstdint>

namespace halfpoll
{

/// Adds to a counter that has one writer: a plain load and a plain store, which other threads may read.
inline void stat_add(std::atomic<std::uint64_t> &counter, std::uint64_t n = 1) noexcept
{
    counter.store(counter.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
}

} // namespace halfpoll
