// SPDX-License-Identifier: BSD-3-Clause
#include <halfpoll/runtime_env.hpp>
#include <halfpoll/softirq.hpp>
#include <halfpoll/softnet_data.hpp>

#include "remote.hpp"
#include "runtime/base/race_point.hpp"

#include <bit>

namespace halfpoll
{

const char *const softirq_to_name[NR_SOFTIRQS] = {"HI",       "TIMER",   "NET_TX", "NET_RX",  "BLOCK",
                                                  "IRQ_POLL", "TASKLET", "SCHED",  "HRTIMER", "RCU"};

namespace
{

/// Serves one snapshot of the mask, lowest vector first. `sd.now` is fresh afterwards.
void softirq_pass(softnet_data &sd) noexcept
{
    std::uint32_t pending = sd.softirq_pending;
    const bool clock_is_read = pending == 1U << NET_RX_SOFTIRQ; // net_rx_action() reads it after each poll
    // Cleared before the handlers run, so that what they raise, their own vector included, stays pending.
    sd.softirq_pending = 0;
    HALFPOLL_RACE_POINT(softirq_mask_cleared, &sd);
    while (pending != 0) {
        const auto vec = static_cast<softirq_vec>(std::countr_zero(pending));
        pending &= pending - 1;
        stat_add(sd.stats.softirqs[vec]);
        if (softirq_action action = sd.env->action(vec)) {
            action(sd);
        }
    }
    if (!clock_is_read) {
        sd.now = sd.env->now();
    }
}

} // namespace

bool do_softirq(softnet_data &sd) noexcept
{
    local_lock bh(sd);
    assert(!sd.serving_softirq);
    if (sd.softirq_pending == 0) {
        return false;
    }
    bh->serving_softirq = true;
    const ktime_t begun = sd.now;
    unsigned pass = 0;
    bool interrupted = false;
    do {
        softirq_pass(sd);
        ++pass;
        interrupted = call_waits(sd, begun);
    } while (sd.softirq_pending != 0 && pass < MAX_SOFTIRQ_RESTART && sd.now < begun + MAX_SOFTIRQ_TIME &&
             !interrupted);
    bh->serving_softirq = false;
    if (sd.softirq_pending == 0) {
        return false;
    }
    stat_add(sd.stats.ksoftirqd, !interrupted);
    return true;
}

} // namespace halfpoll
