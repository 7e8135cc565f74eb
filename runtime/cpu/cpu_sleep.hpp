// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/softnet_data.hpp>

#include "runtime/base/race_point.hpp"
#include "runtime/softirq/remote.hpp"

#include <atomic>

namespace halfpoll
{

/// Announces that the CPU is about to sleep, calls last_look(), and, if that found no work, block(). A producer that
/// publishes after last_look() sees the announcement and rings the doorbell (kick_cpu()), which ends block(). On the
/// CPU's own thread.
template <typename last_look_fn, typename block_fn>
void sleep_unless(softnet_data &sd, last_look_fn last_look, block_fn block) noexcept
{
    HALFPOLL_RACE_POINT(idle_before_announce, &sd);
    announce_sleep(sd);
    HALFPOLL_RACE_POINT(idle_announced, &sd);
    if (!last_look()) {
        HALFPOLL_RACE_POINT(idle_before_block, &sd);
        block();
    }
    sd.sleeping.store(0, std::memory_order_relaxed); // producers need not ring: the caller checks everything again
}

} // namespace halfpoll
