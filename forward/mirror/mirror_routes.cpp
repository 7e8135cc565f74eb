// SPDX-License-Identifier: BSD-3-Clause
#include "mirror_routes.hpp"

#include <algorithm>
#include <linux/rtnetlink.h>
#include <tuple>
#include <utility>

namespace halfpoll
{

namespace
{

using routes_t = std::vector<kernel_route>;

unsigned family_index(std::uint8_t family) { return family == AF_INET ? 0 : 1; }

/// Routes of equal rank replace each other, or share their packets.
auto rank(const kernel_route &r) { return std::tuple(r.special(), r.from, r.tos, r.table != RT_TABLE_LOCAL, r.metric); }

bool before(const kernel_route &a, const kernel_route &b) { return rank(a) < rank(b); }

bool same(const kernel_route &a, const kernel_route &b)
{
    return rank(a) == rank(b) && a.type == b.type && a.opaque == b.opaque && a.mtu == b.mtu && a.nhid == b.nhid &&
           a.hops == b.hops;
}

/// True if the deletion of `b` concerns `a`. A deletion does not repeat all attributes of the route.
bool same_target(const kernel_route &a, const kernel_route &b)
{
    const auto same_hop = [](const route_hop &x, const route_hop &y) {
        return x.oif == y.oif && x.gateway == y.gateway;
    };
    return rank(a) == rank(b) && a.type == b.type && a.nhid == b.nhid && std::ranges::equal(a.hops, b.hops, same_hop);
}

bool in_local_table(const kernel_route &r) { return r.table == RT_TABLE_LOCAL; }

/// Marks an identical route as seen in this dump. Returns false if there is none.
bool refresh(routes_t &routes, const kernel_route &route)
{
    const auto known = std::ranges::find_if(routes, [&](const kernel_route &r) { return same(r, route); });
    if (known == routes.end()) {
        return false;
    }
    known->generation = route.generation;
    return true;
}

/// Erases the routes that an IPv6 replacement replaces: the first route of the same kind (can_share() or not), else the
/// first of the other kind; of routes that share their metric, all next hops.
void erase_replaced_ipv6(routes_t &routes, const kernel_route &by)
{
    auto [first, last] = std::equal_range(routes.begin(), routes.end(), by, before);
    if (first == last) {
        return;
    }
    auto victim = std::find_if(first, last, [&](const kernel_route &r) { return can_share(r) == can_share(by); });
    victim = victim == last ? first : victim;
    if (!can_share(*victim)) {
        routes.erase(victim);
        return;
    }
    routes.erase(std::remove_if(first, last, can_share), last);
}

kernel_route to_route(const route_message &message, std::uint32_t generation)
{
    return {.table = message.table,
            .metric = message.metric,
            .mtu = message.mtu,
            .type = message.type,
            .opaque = message.opaque,
            .tos = message.tos,
            .from = message.from,
            .nhid = message.nhid,
            .generation = generation,
            .hops = message.hops};
}

} // namespace

bool can_share(const kernel_route &route) { return route.nhid == 0 && route.hops.front().gateway.family != AF_UNSPEC; }

std::span<const kernel_route> best_of(std::span<const kernel_route> routes)
{
    return {routes.begin(), std::upper_bound(routes.begin(), routes.end(), routes.front(), before)};
}

bool route_table::add_ipv4(routes_t &routes, const kernel_route &route, source from)
{
    auto [first, last] = std::equal_range(routes.begin(), routes.end(), route, before);
    if (from == source::dump) {
        // Moved behind the routes that the dump showed before it, so that the order becomes the kernel's.
        const auto known = std::find_if(first, last, [&](const kernel_route &r) { return same(r, route); });
        if (known == last) {
            routes.insert(last, route);
            return true;
        }
        known->generation = route.generation;
        const bool moves = std::next(known) != last;
        std::rotate(known, std::next(known), last);
        return moves;
    }
    if (from == source::replace && first != last) {
        const bool changed = !same(*first, route);
        *first = route;
        return changed;
    }
    if (refresh(routes, route)) {
        return false;
    }
    routes.insert(from == source::append ? last : first, route);
    return true;
}

bool route_table::add_ipv6(routes_t &routes, const kernel_route &route)
{
    if (refresh(routes, route)) {
        return false;
    }
    routes.insert(std::upper_bound(routes.begin(), routes.end(), route, before), route);
    return true;
}

bool route_table::add(const route_message &message, source from)
{
    const kernel_route whole = to_route(message, generation_);
    route_entry &entry = entries_[message.dst];
    count(message.dst, entry.routes, -1);
    bool changed = false;
    if (message.dst.addr.family == AF_INET) {
        changed = add_ipv4(entry.routes, whole, from);
    } else {
        if (from == source::replace) {
            erase_replaced_ipv6(entry.routes, whole);
            changed = true;
        }
        for (const route_hop &hop : whole.hops) {
            kernel_route one = whole;
            one.hops = {hop};
            changed |= add_ipv6(entry.routes, one);
        }
    }
    count(message.dst, entry.routes, +1);
    return changed;
}

bool route_table::remove(const route_message &message)
{
    const auto found = entries_.find(message.dst);
    if (found == entries_.end()) {
        return false;
    }
    const kernel_route whole = to_route(message, generation_);
    routes_t &routes = found->second.routes;
    count(message.dst, routes, -1);
    const std::size_t before_removal = routes.size();
    if (message.dst.addr.family == AF_INET) {
        const auto victim = std::ranges::find_if(routes, [&](const kernel_route &r) { return same_target(r, whole); });
        if (victim != routes.end()) {
            routes.erase(victim);
        }
    } else {
        for (const route_hop &hop : whole.hops) {
            kernel_route one = whole;
            one.hops = {hop};
            std::erase_if(routes, [&](const kernel_route &r) { return same_target(r, one); });
        }
    }
    count(message.dst, routes, +1);
    return routes.size() != before_removal;
}

void route_table::keep(const ip_prefix &prefix)
{
    const auto found = entries_.find(prefix);
    if (found != entries_.end()) {
        std::ranges::for_each(found->second.routes, [this](kernel_route &r) { r.generation = generation_; });
    }
}

std::vector<ip_prefix> route_table::sweep(std::uint8_t family, const std::set<ip_prefix> &only)
{
    std::vector<ip_prefix> changed;
    for (auto &[prefix, entry] : entries_) {
        if (prefix.addr.family != family || (!only.empty() && !only.contains(prefix))) {
            continue;
        }
        count(prefix, entry.routes, -1);
        if (std::erase_if(entry.routes, [this](const kernel_route &r) { return r.generation != generation_; }) > 0) {
            changed.push_back(prefix);
        }
        count(prefix, entry.routes, +1);
    }
    return changed;
}

void route_table::count(const ip_prefix &prefix, const routes_t &routes, int sign)
{
    const unsigned family = family_index(prefix.addr.family);
    const auto step = static_cast<std::uint32_t>(sign);
    lengths_[family][prefix.len] += routes.empty() ? 0 : step;
    special_prefixes_ += !routes.empty() && routes.back().special() ? static_cast<std::size_t>(sign) : 0;
    local_lengths_[family][prefix.len] += std::ranges::any_of(routes, in_local_table) ? step : 0;
}

const route_table::map::value_type *route_table::lookup(const ip_addr &addr, unsigned max_len) const
{
    const auto &lengths = lengths_[family_index(addr.family)];
    for (unsigned len = max_len + 1; len-- > 0;) {
        if (lengths[len] == 0) {
            continue;
        }
        const auto found = entries_.find(make_prefix(addr, len));
        if (found != entries_.end() && !found->second.routes.empty()) {
            return &*found;
        }
    }
    return nullptr;
}

bool route_table::under_local(const ip_prefix &prefix) const
{
    const auto &lengths = local_lengths_[family_index(prefix.addr.family)];
    for (unsigned len = 0; len < prefix.len; ++len) {
        if (lengths[len] == 0) {
            continue;
        }
        const auto found = entries_.find(make_prefix(prefix.addr, len));
        if (found != entries_.end() && std::ranges::any_of(found->second.routes, in_local_table)) {
            return true;
        }
    }
    return false;
}

void route_table::drop_if_unused(map::iterator entry)
{
    if (entry->second.routes.empty() && entry->second.nexthop == route_entry::none) {
        entries_.erase(entry);
    }
}

} // namespace halfpoll
