// SPDX-License-Identifier: BSD-3-Clause
//
// Not part of the API: net_cpu.hpp needs it.
#pragma once

#include <halfpoll/cpu_napi.hpp>

#include <memory>
#include <vector>

namespace halfpoll
{

class backlog_ring;
struct backlog_ring_deleter {
    void operator()(backlog_ring *ring) const noexcept;
};
using backlog_ring_ptr = std::unique_ptr<backlog_ring, backlog_ring_deleter>;

/// The backlog of a CPU, and its packets for other CPUs' backlogs. Home CPU only.
struct backlog_cpu {
    std::vector<backlog_ring *> out;   ///< by target CPU: rings for packets from this CPU (backlog.hpp)
    backlog_ring *staged = nullptr;    ///< list of the rings that this poll has staged packets on
    backlog_ring *unchecked = nullptr; ///< list of rings published in this turn whose target may be idle
    std::vector<backlog_ring_ptr> in;  ///< by producing CPU
    unsigned next = 0;                 ///< producer whose ring is served first in the next poll
    cpu_napi napi;                     ///< polls the rings in `in`
};

} // namespace halfpoll
