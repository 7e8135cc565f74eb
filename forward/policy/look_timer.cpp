// SPDX-License-Identifier: BSD-3-Clause
#include "look_timer.hpp"

namespace halfpoll
{

namespace
{
constexpr ktime_t period = NSEC_PER_SEC;
} // namespace

bool look_timer::due() noexcept
{
    if (ktime_get() < due_) {
        return false;
    }
    due_ = timer_.arm_rounded(period); // the epoll_set is no longer readable, too
    return true;
}

void look_timer::hasten() noexcept
{
    due_ = 0;
    timer_.arm(0);
}

} // namespace halfpoll
