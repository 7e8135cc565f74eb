// SPDX-License-Identifier: BSD-3-Clause
#include "look_timer.hpp"

namespace halfpoll
{

namespace
{
constexpr ktime_t period = NSEC_PER_SEC;
constexpr ktime_t early = 50 * NSEC_PER_MSEC; // so that one turn serves all sources that are nearly due
} // namespace

bool look_timer::due() noexcept
{
    const ktime_t now = ktime_get();
    if (now + early < due_) {
        return false;
    }
    due_ = now + period;
    timer_.arm(period); // the epoll_set is no longer readable, too
    return true;
}

void look_timer::hasten() noexcept
{
    due_ = 0;
    timer_.arm(0);
}

} // namespace halfpoll
