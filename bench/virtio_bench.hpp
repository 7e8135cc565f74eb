// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/error.hpp>

#include <sched.h>

#include <cerrno>
#include <string>

namespace halfpoll::bench
{

/// The CPUs of the device under test and of its peer, which measures.
inline constexpr unsigned DUT_CPU = 0, PEER_CPU = 1;
/// Above all SCHED_OTHER tasks, so that benchmarks work on machines with other load. Loops that spin pause often enough
/// that the kernel's real-time throttling does not stop them.
inline constexpr int FIFO_PRIORITY = 10;
inline constexpr unsigned DESCRIPTORS = 256;

/// Pins the calling thread to a CPU; `fifo` also makes it SCHED_FIFO. Throws `error`.
inline void place(unsigned cpu, bool fifo = true)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    const sched_param param{.sched_priority = FIFO_PRIORITY};
    if (sched_setaffinity(0, sizeof set, &set) != 0 || (fifo && sched_setscheduler(0, SCHED_FIFO, &param) != 0)) {
        throw_errno(errno, "CPU " + std::to_string(cpu) + " or SCHED_FIFO");
    }
}

} // namespace halfpoll::bench
