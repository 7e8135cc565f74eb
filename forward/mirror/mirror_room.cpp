// SPDX-License-Identifier: BSD-3-Clause
#include "mirror_impl.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

namespace halfpoll
{

namespace
{
constexpr std::size_t tries_per_turn = 1000;
constexpr unsigned shortest_stand_in = 24; // shorter prefixes need no room
constexpr ktime_t pause_ns = NSEC_PER_SEC; // until the next turn, if the last turn found no room
constexpr ktime_t short_pause_ns = 10 * NSEC_PER_MSEC;

/// Calls fn(FIB, address in the form that the FIB takes).
template <typename F>
auto in_fib(forwarder &fwd, const ip_addr &addr, F fn)
{
    return addr.family == AF_INET ? fn(fwd.routes4(), to_ipv4(addr.bytes)) : fn(fwd.routes6(), addr.bytes);
}

} // namespace

bool mirror::impl::fits(const ip_prefix &prefix)
{
    const auto in = [&](const auto &fib, const auto &addr) { return fib.fits(addr, prefix.len); };
    if (in_fib(fwd, prefix.addr, in)) {
        return true;
    }
    full_table = prefix.addr.family == AF_INET ? "IPv4 prefixes longer than /24" : "IPv6 prefixes longer than /24";
    return false;
}

ip_prefix mirror::impl::reach(const ip_prefix &prefix) const
{
    const auto of = [&](const auto &fib, const auto &addr) { return fib.reach(addr, prefix.len); };
    return make_prefix(prefix.addr, in_fib(fwd, prefix.addr, of));
}

/// True if a longer prefix has no room and its stand-in is shorter than `prefix`: an entry for `prefix` would take the
/// packets of the longer prefix.
bool mirror::impl::hides_one(const ip_prefix &prefix) const
{
    if (prefix.len <= shortest_stand_in) {
        return false;
    }
    for (auto i = without_room.upper_bound(prefix); i != without_room.end() && covers(prefix, i->first); ++i) {
        if (i->second.len < prefix.len) {
            return true;
        }
    }
    return false;
}

/// Makes `entry` the stand-in of a prefix that has no room. No value: the prefix has an entry of its own, or needs
/// none.
void mirror::impl::stand_in(const ip_prefix &prefix, const std::optional<ip_prefix> &entry)
{
    const auto known = without_room.find(prefix);
    const auto before = known == without_room.end() ? std::nullopt : std::optional(known->second);
    if (before == entry) {
        return;
    }
    if (entry) {
        stats.errors += before ? 0 : 1;
        without_room[prefix] = *entry;
        if (*entry != prefix && stand_ins[*entry]++ == 0) {
            evaluate(*entry);
        }
    } else {
        without_room.erase(known);
    }
    if (before && *before != prefix && --stand_ins.at(*before) == 0) {
        stand_ins.erase(*before);
        evaluate(*before);
    }
}

/// Tries some of the prefixes without room again. Longer prefixes come first, since hides_one() keeps a shorter one out
/// while a longer one has no room.
void mirror::impl::find_room()
{
    const auto all = [this] { return without_room.size() + nexthops.users_without_room(); };
    const std::size_t before = all();
    nexthops.fill_up();
    for (std::size_t left = std::min(tries_per_turn, without_room.size()); left > 0 && !without_room.empty(); --left) {
        const auto next = without_room.lower_bound(tried_last);
        tried_last = std::prev(next == without_room.begin() ? without_room.end() : next)->first;
        evaluate(ip_prefix(tried_last));
    }
    room_timer.arm(all() < before ? short_pause_ns : pause_ns);
}

/// Warns when the first prefix finds no room, and when all have room again.
void mirror::impl::watch_room()
{
    const std::uint64_t now = without_room.size() + nexthops.users_without_room();
    const std::uint64_t before = std::exchange(stats.without_room, now);
    if (before == 0 && now > 0) {
        room_timer.arm(pause_ns);
        warn((full_table.empty() ? "next hops" : full_table) + ": no room for " + std::to_string(now) +
             " prefixes, the kernel alone forwards to them until there is");
    } else if (before > 0 && now == 0) {
        full_table.clear();
        warn("all prefixes have room again");
    }
}

} // namespace halfpoll
