// SPDX-License-Identifier: BSD-3-Clause
#include "mirror_room.hpp"

#include <algorithm>
#include <utility>

namespace halfpoll
{

namespace
{
constexpr std::size_t tries_per_turn = 1000;
constexpr ktime_t pause_ns = NSEC_PER_SEC; // until the next turn, if the last turn found no room
constexpr ktime_t short_pause_ns = 10 * NSEC_PER_MSEC;
} // namespace

void room_keeper::process()
{
    if (timer_.take_expiry()) {
        find_room();
    }
    const std::uint64_t now = users_without_room();
    const std::uint64_t before = std::exchange(report_.stats.without_room, now);
    if (before == 0 && now > 0) {
        timer_.arm(pause_ns);
        report_.warn((stand_ins_.full_table.empty() ? "next hops" : stand_ins_.full_table) + ": no room for " +
                     std::to_string(now) + " prefixes, the kernel alone forwards to them until there is");
    } else if (before > 0 && now == 0) {
        stand_ins_.full_table.clear();
        report_.warn("all prefixes have room again");
    }
}

/// Tries some of the prefixes without room again. Longer prefixes come first, since stand_in_table::hides_one() keeps a
/// shorter one out while a longer one has no room.
void room_keeper::find_room()
{
    const std::size_t before = users_without_room();
    nexthops_.fill_up();
    for (std::size_t left = std::min(tries_per_turn, stand_ins_.size()); left > 0 && stand_ins_.size() > 0; --left) {
        tried_last_ = stand_ins_.previous(tried_last_);
        fib_.update_prefix(tried_last_);
    }
    timer_.arm(users_without_room() < before ? short_pause_ns : pause_ns);
}

std::size_t room_keeper::users_without_room() const { return stand_ins_.size() + nexthops_.users_without_room(); }

} // namespace halfpoll
