// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "forward/events/timer_fd.hpp"
#include "mirror_fib.hpp"
#include "mirror_nexthops.hpp"
#include "mirror_report.hpp"
#include "stand_ins.hpp"

#include <cstddef>

namespace halfpoll
{

/// Gives room that has become free in the tables to the prefixes and groups that found none.
class room_keeper
{
public:
    room_keeper(const epoll_set &events, stand_in_table &stand_ins, shared_nexthops &nexthops, fib_updater &fib,
                mirror_report &report)
        : timer_(events), stand_ins_(stand_ins), nexthops_(nexthops), fib_(fib), report_(report)
    {
    }

    /// Once a turn of the control loop: tries again when it is time to, and warns when the first prefix finds no room,
    /// and when all have room again.
    void process();

private:
    void find_room();
    std::size_t users_without_room() const;

    timer_fd timer_; ///< find_room()
    stand_in_table &stand_ins_;
    shared_nexthops &nexthops_;
    fib_updater &fib_;
    mirror_report &report_;
    ip_prefix tried_last_; ///< the prefix at which find_room() stopped
};

} // namespace halfpoll
