// SPDX-License-Identifier: BSD-3-Clause
#include "stand_ins.hpp"

#include "fib_entry.hpp"

#include <iterator>

namespace halfpoll
{

namespace
{
constexpr unsigned shortest_stand_in = 24; // shorter prefixes need no room
} // namespace

bool stand_in_table::fits(const ip_prefix &prefix)
{
    if (fib_fits(fwd_, prefix)) {
        return true;
    }
    full_table = prefix.addr.family == AF_INET ? "IPv4 prefixes longer than /24" : "IPv6 prefixes longer than /24";
    return false;
}

bool stand_in_table::hides_one(const ip_prefix &prefix) const
{
    if (prefix.len <= shortest_stand_in) {
        return false;
    }
    for (auto i = without_room_.upper_bound(prefix); i != without_room_.end() && covers(prefix, i->first); ++i) {
        if (i->second.len < prefix.len) {
            return true;
        }
    }
    return false;
}

std::optional<ip_prefix> stand_in_table::of(const ip_prefix &prefix) const
{
    const auto known = without_room_.find(prefix);
    return known == without_room_.end() ? std::nullopt : std::optional(known->second);
}

bool stand_in_table::enter(const ip_prefix &prefix, const ip_prefix &entry)
{
    without_room_[prefix] = entry;
    return entry != prefix && serving_[entry]++ == 0;
}

bool stand_in_table::leave(const ip_prefix &prefix, const ip_prefix &entry)
{
    if (entry == prefix || --serving_.at(entry) != 0) {
        return false;
    }
    serving_.erase(entry);
    return true;
}

const ip_prefix &stand_in_table::previous(const ip_prefix &prefix) const
{
    const auto next = without_room_.lower_bound(prefix);
    return std::prev(next == without_room_.begin() ? without_room_.end() : next)->first;
}

} // namespace halfpoll
