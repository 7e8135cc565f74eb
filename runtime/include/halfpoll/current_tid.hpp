// SPDX-License-Identifier: BSD-3-Clause
//
// Not part of the API: pi_lock.hpp needs it.
#pragma once

#include <cstdint>

namespace halfpoll
{

/// The identity of the calling thread, for locks.
struct lock_self {
    std::uint32_t tid = 0; ///< the kernel's thread id; 0: not looked up yet
    /// The logical CPU that the thread runs on, which the kernel keeps up to date (rseq(2)), for a thread with a
    /// cpu_pin; -1 for other threads.
    const volatile std::int32_t *cpu = &NO_CPU;
    static constexpr std::int32_t NO_CPU = -1;
};
extern constinit thread_local lock_self this_lock_self [[gnu::tls_model("initial-exec")]];

/// Looks up the kernel's id of the calling thread by a system call, and keeps it.
std::uint32_t current_tid_slow() noexcept;

/// The kernel's id of the calling thread. Any thread; a system call only the first time.
inline std::uint32_t current_tid() noexcept
{
    const std::uint32_t tid = this_lock_self.tid;
    return tid != 0 ? tid : current_tid_slow();
}

} // namespace halfpoll
