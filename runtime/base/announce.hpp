// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <atomic>
#include <cstdint>

// ThreadSanitizer does not model fences. Under it, read-modify-writes of the flag give the same order.
#if defined(__SANITIZE_THREAD__)
#define HALFPOLL_NO_FENCES 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HALFPOLL_NO_FENCES 1
#endif
#endif

namespace halfpoll
{

// The Dekker protocol between a consumer that goes to sleep and its producers. The consumer sets a flag and then checks
// once more for work; a producer publishes work and then checks the flag. Each side has a seq_cst fence between its
// store and its load, so that at least one of the two sees the other's store.

/// The consumer's store and fence. The consumer checks for work after it. Pairs with announced().
inline void announce(std::atomic<std::uint32_t> &flag) noexcept
{
#ifdef HALFPOLL_NO_FENCES
    flag.exchange(1, std::memory_order_seq_cst);
#else
    flag.store(1, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_seq_cst);
#endif
}

/// The producer's fence and load, after it has published. True if the consumer has announced. Any thread; writes
/// nothing. Pairs with announce().
inline bool announced(std::atomic<std::uint32_t> &flag) noexcept
{
#ifdef HALFPOLL_NO_FENCES
    return flag.fetch_or(0, std::memory_order_seq_cst) != 0;
#else
    std::atomic_thread_fence(std::memory_order_seq_cst);
    return flag.load(std::memory_order_relaxed) != 0;
#endif
}

} // namespace halfpoll
