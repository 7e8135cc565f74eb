// SPDX-License-Identifier: BSD-3-Clause
#include "route_mirror.hpp"

#include <algorithm>
#include <linux/rtnetlink.h>

namespace halfpoll
{

namespace
{

route_table::source source_of(const nlmsghdr &message, bool dump)
{
    return dump                                  ? route_table::source::dump
           : message.nlmsg_flags & NLM_F_REPLACE ? route_table::source::replace
           : message.nlmsg_flags & NLM_F_APPEND  ? route_table::source::append
                                                 : route_table::source::prepend;
}

} // namespace

void route_mirror::apply(const nlmsghdr &message)
{
    const auto route = parse_route(message);
    if (route && !route->cached && route->table == RT_TABLE_DEFAULT) {
        note_default_table(route->dst.addr.family, message.nlmsg_type == RTM_DELROUTE);
    }
    if (!route || route->cached || (route->table != RT_TABLE_MAIN && route->table != RT_TABLE_LOCAL) ||
        fixed_.never_forwarded(route->dst)) {
        ++report_.stats.ignored;
        return;
    }
    if (!loads_.is_newest(socket_, message, route->dst, 0)) {
        routes_.keep(route->dst);
        loads_.load.doubtful.insert(route->dst);
        return;
    }
    const bool dumped = socket_.is_reply(message);
    if (dumped && !loads_.load.only.empty() && !loads_.load.only.contains(route->dst)) {
        return;
    }
    loads_.load.disturbed |= !dumped && route->dst.addr.family == AF_INET6;
    report_.stats.ignored += route->opaque ? 1 : 0; // its prefix is punted
    note_dead(*route);
    const bool changed =
        message.nlmsg_type == RTM_NEWROUTE ? routes_.add(*route, source_of(message, dumped)) : routes_.remove(*route);
    if (changed) {
        consequences_.route_changed(route->dst, route->table == RT_TABLE_LOCAL);
    }
}

void route_mirror::note_dead(const route_message &route)
{
    const bool dead = std::ranges::any_of(route.hops, &route_hop::dead);
    (route.dst.addr.family == AF_INET ? loads_.dead_hops4 : loads_.dead_hops6) |= dead;
}

/// The routes of the table `default` are not kept: if one goes, a dump shows whether there are others.
void route_mirror::note_default_table(std::uint8_t family, bool gone)
{
    if (gone) {
        (family == AF_INET ? loads_.stale.routes4 : loads_.stale.routes6) = true;
        return;
    }
    default_seen_[family] = loads_.generation;
    if (state_.default_table.insert(family).second) {
        rules_.evaluate();
    }
}

/// With an address, the kernel removes the routes that have it as source and, if it was the last of its interface, all
/// routes over that interface. With an interface's first IPv4 address, it revives next hops, as in
/// link_mirror::mark_stale(). It sends no message about either.
void route_mirror::apply_address(const nlmsghdr &message)
{
    const bool gone = message.nlmsg_type == RTM_DELADDR;
    const std::uint8_t family = address_family(message);
    loads_.stale.routes4 |= family == AF_INET && (gone || loads_.dead_hops4 || loads_.loading());
    loads_.stale.routes6 |= family == AF_INET6 && (gone || loads_.dead_hops6);
}

void route_mirror::sweep(std::uint8_t family)
{
    for (const ip_prefix &prefix : routes_.sweep(family, loads_.load.only)) {
        consequences_.route_changed(prefix, true);
    }
    if (default_seen_[family] != loads_.generation && state_.default_table.erase(family) > 0) {
        rules_.evaluate();
    }
}

} // namespace halfpoll
