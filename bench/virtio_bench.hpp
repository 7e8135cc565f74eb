// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/error.hpp>

#include <sched.h>

#include <cerrno>
#include <string>

namespace halfpoll::bench
{

/// One CPU for what is measured, one for what measures.
inline constexpr unsigned DUT_CPU = 0, PEER_CPU = 1;
/// Above everything ordinary: benchmarks must work on machines that do other things. Loops that spin pause often enough
/// that the system's guard against starving ordinary tasks stays away.
inline constexpr int FIFO_PRIORITY = 10;
inline constexpr unsigned DESCRIPTORS = 256;

/// Puts the calling thread on a CPU, SCHED_FIFO if asked for.
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
