// SPDX-License-Identifier: BSD-3-Clause
#include "mirror_fib.hpp"

#include "fib_entry.hpp"

#include <halfpoll/error.hpp>

#include <algorithm>
#include <set>
#include <utility>

namespace halfpoll
{

namespace
{

box_address to_box_address(const ip_addr &addr)
{
    if (addr.family == AF_INET6) {
        return addr.bytes;
    }
    box_address mapped{};
    mapped[10] = mapped[11] = 0xFF;
    std::copy_n(addr.bytes.begin(), 4, mapped.begin() + 12);
    return mapped;
}

} // namespace

fib_updater::~fib_updater()
{
    for (const auto &[prefix, entry] : routes_.entries()) {
        if (entry.nexthop != route_entry::none) {
            write(prefix, entry.nexthop, route_entry::none);
            nexthops_.release(entry.nexthop);
        }
    }
}

void fib_updater::update_prefix(const ip_prefix &prefix)
{
    const auto found = routes_.entries().try_emplace(prefix).first;
    route_entry &entry = found->second;
    const bool stands_in = stand_ins_.serves(prefix);
    std::uint32_t wanted = stands_in ? fixed_.table_full
                                     : acquire_in_room(prefix, selection_.considered(prefix.addr.family, entry.routes));
    std::optional<ip_prefix> punting; // punts in place of `prefix`
    if (!stands_in && wanted != route_entry::none) {
        const bool fresh = entry.nexthop == route_entry::none;
        if (stand_ins_.hides_one(prefix) || (fresh && !stand_ins_.fits(prefix))) {
            nexthops_.release(wanted);
            punting = fib_reach(fwd_, prefix);
            wanted = punting == prefix ? fixed_.table_full : route_entry::none;
        } else if (wanted == fixed_.table_full) {
            punting = prefix;
        }
    }
    if (wanted != entry.nexthop) {
        write(prefix, entry.nexthop, wanted);
        std::swap(wanted, entry.nexthop);
    }
    nexthops_.release(wanted); // the replaced next hop, or the second reference to the same one
    routes_.drop_if_unused(found);
    set_stand_in(prefix, punting);
}

void fib_updater::write(const ip_prefix &prefix, std::uint32_t before, std::uint32_t now)
{
    write_fib(fwd_, prefix, now);
    const bool host = prefix.len == address_bits(prefix.addr.family);
    if (host && (before == fixed_.local) != (now == fixed_.local)) {
        slow_.set_pass_address(to_box_address(prefix.addr), now == fixed_.local);
    }
}

/// As nexthop_decider::acquire_for_prefix(); returns `table_full` if there is no room for the next hop.
std::uint32_t fib_updater::acquire_in_room(const ip_prefix &prefix, std::span<const kernel_route> list)
{
    try {
        return decider_.acquire_for_prefix(prefix, list);
    } catch (const error &e) {
        stand_ins_.full_table = e.what();
        return fixed_.table_full;
    }
}

/// Makes `entry` the stand-in of a prefix that has no room. No value: the prefix has an entry of its own, or needs
/// none.
void fib_updater::set_stand_in(const ip_prefix &prefix, const std::optional<ip_prefix> &entry)
{
    const auto before = stand_ins_.of(prefix);
    if (before == entry) {
        return;
    }
    if (entry) {
        report_.stats.errors += before ? 0 : 1;
        if (stand_ins_.enter(prefix, *entry)) {
            update_prefix(*entry);
        }
    } else {
        stand_ins_.erase(prefix);
    }
    if (before && stand_ins_.leave(prefix, *before)) {
        update_prefix(*before);
    }
}

void fib_updater::update_choices()
{
    const std::set<ip_prefix> all = decider_.choices();
    std::ranges::for_each(all, [this](const ip_prefix &prefix) { update_prefix(prefix); });
}

} // namespace halfpoll
