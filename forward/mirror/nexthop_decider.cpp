// SPDX-License-Identifier: BSD-3-Clause
#include "nexthop_decider.hpp"

#include <algorithm>
#include <linux/rtnetlink.h>
#include <ranges>

namespace halfpoll
{

namespace
{
bool is_host(const ip_prefix &prefix) { return prefix.len == address_bits(prefix.addr.family); }
} // namespace

std::uint32_t nexthop_decider::acquire_for_prefix(const ip_prefix &prefix, std::span<const kernel_route> list)
{
    choices_.erase(prefix);
    if (list.empty()) {
        return acquire_without_route(prefix);
    }
    if (list.front().table != RT_TABLE_LOCAL && routes_.under_local(prefix)) {
        return fixed_.local;
    }
    switch (list.front().type) {
    case RTN_LOCAL:
    case RTN_BROADCAST:
    case RTN_ANYCAST:
    case RTN_MULTICAST:
        return fixed_.local;
    default:
        return list.back().special() ? fixed_.kernel : acquire_for_forwarding(prefix, list);
    }
}

std::uint32_t nexthop_decider::acquire_without_route(const ip_prefix &prefix)
{
    if (prefix.len == 0 && state_.beyond_main.contains(prefix.addr.family)) {
        return fixed_.kernel; // what no prefix covers
    }
    return is_host(prefix) ? acquire_for_neighbour(prefix.addr) : route_entry::none;
}

/// Acquires the next hop for a prefix that is not the box's own.
std::uint32_t nexthop_decider::acquire_for_forwarding(const ip_prefix &prefix, std::span<const kernel_route> list)
{
    switch (list.front().type) {
    case RTN_BLACKHOLE:
        return fixed_.blackhole;
    case RTN_UNREACHABLE:
    case RTN_PROHIBIT:
        return nexthop_table::no_route;
    case RTN_THROW:
        return state_.beyond_main.contains(prefix.addr.family) ? fixed_.kernel : nexthop_table::no_route;
    case RTN_UNICAST:
        break;
    default:
        return fixed_.kernel;
    }
    const std::span best = best_of(list);
    if (best.size() > 1 && (prefix.addr.family == AF_INET || !std::ranges::all_of(best, can_share))) {
        choices_.insert(prefix);
    }
    return acquire_for_routes(prefix.addr, is_host(prefix), list);
}

/// A neighbour gets a host prefix of its own if the kernel would send to it directly. Returns `none` if it would not.
std::uint32_t nexthop_decider::acquire_for_neighbour(const ip_addr &addr)
{
    const std::span cover = selection_.lookup(addr);
    if (cover.empty() || cover.back().special() || fixed_.never_forwarded(host_prefix(addr)) ||
        routes_.under_local(host_prefix(addr)) || cover.front().type != RTN_UNICAST) {
        return route_entry::none;
    }
    const kernel_route &route = selection_.first_usable(cover);
    const route_hop *hop = selection_.only_hop(route);
    if (!hop || hop->gateway.family != AF_UNSPEC || !state_.neighbours.contains({addr, hop->oif}) ||
        !egress_.of(hop->oif)) {
        return route_entry::none;
    }
    return nexthops_.acquire({.oif = hop->oif, .gateway = addr, .family = addr.family, .mtu = route.mtu});
}

/// Acquires the next hop, or the group, that the best routes of a prefix lead to.
std::uint32_t nexthop_decider::acquire_for_routes(const ip_addr &to, bool host, std::span<const kernel_route> list)
{
    const kernel_route &route = selection_.first_usable(list);
    if (route.opaque) {
        return fixed_.kernel;
    }
    if (route.nhid != 0) {
        return nexthops_.acquire(
            nexthop_group_key{.id = route.nhid, .family = to.family, .mtu = route.mtu, .members = {}});
    }
    nexthop_group_key group{.id = 0, .family = to.family, .mtu = route.mtu, .members = {}};
    const auto add = [&](const kernel_route &r) {
        const bool all_dead = std::ranges::all_of(r.hops, &route_hop::dead);
        for (const route_hop &hop : r.hops) {
            if (hop.dead && !all_dead) {
                continue;
            }
            const ip_addr &gateway = hop.gateway.family == AF_UNSPEC && host ? to : hop.gateway;
            group.members.push_back(
                {{.oif = hop.oif, .gateway = gateway, .family = to.family, .mtu = r.mtu}, hop.weight});
        }
    };
    const auto shares = [](const kernel_route &r) { return can_share(r) && !r.hops.front().dead; };
    if (to.family != AF_INET && shares(route)) {
        std::ranges::for_each(best_of(list) | std::views::filter(shares), add);
    } else {
        add(route);
    }
    return group.members.size() == 1 ? nexthops_.acquire(group.members.front().hop) : nexthops_.acquire(group);
}

} // namespace halfpoll
