// SPDX-License-Identifier: BSD-3-Clause
#include "consequences.hpp"

#include <algorithm>
#include <linux/rtnetlink.h>
#include <set>
#include <vector>

namespace halfpoll
{

void consequences::link_changed(int ifindex)
{
    ingress_.publish(ifindex);
    egress_changed(ifindex);
}

/// Re-evaluates the next hops and prefixes that use an interface or a VLAN on it.
void consequences::egress_changed(int ifindex)
{
    nexthops_.refresh(ifindex, nullptr);
    for (const auto &[upper, link] : state_.links) {
        if (link.what.lower == ifindex && upper != ifindex) {
            egress_changed(upper);
        }
    }
    fib_.update_choices();
    update_neighbours_on(ifindex);
}

/// Re-evaluates the host prefixes of the neighbours on an interface: whether each needs an entry of its own may have
/// changed.
void consequences::update_neighbours_on(int ifindex)
{
    for (const auto &[key, neighbour] : state_.neighbours) {
        if (key.second == ifindex) {
            fib_.update_prefix(host_prefix(key.first));
        }
    }
}

void consequences::device_changed(const net_device &dev)
{
    nexthops_.refresh(0, &dev);
    fib_.update_choices();
}

void consequences::dead_link_changed(std::uint8_t family, int ifindex)
{
    const auto is_over = [ifindex](const kernel_route &r) {
        return std::ranges::find(r.hops, ifindex, &route_hop::oif) != r.hops.end();
    };
    std::vector<ip_prefix> over;
    for (const auto &[prefix, entry] : routes_.entries()) {
        if (prefix.addr.family == family && std::ranges::any_of(entry.routes, is_over)) {
            over.push_back(prefix);
        }
    }
    std::ranges::for_each(over, [this](const ip_prefix &prefix) { route_changed(prefix, false); });
}

/// Concerns the prefixes that leave packets to what comes behind the main table.
void consequences::beyond_main_changed(std::uint8_t family)
{
    std::set<ip_prefix> open{{{family, {}}, 0}};
    for (const auto &[prefix, entry] : routes_.entries()) {
        if (prefix.addr.family == family && std::ranges::count(entry.routes, RTN_THROW, &kernel_route::type) > 0) {
            open.insert(prefix);
        }
    }
    std::ranges::for_each(open, [this](const ip_prefix &prefix) { fib_.update_prefix(prefix); });
}

/// The way in is closed before the way out, and opened after it.
void consequences::policy_changed()
{
    ingress_.publish(netconf_table::every);
    for (const auto &[ifindex, link] : state_.links) {
        for (const std::uint8_t family : {std::uint8_t{AF_INET}, std::uint8_t{AF_INET6}}) {
            const std::pair key(family, ifindex);
            const bool closed = gate_.kernel_forwards(family, policy_side::out, ifindex);
            if (closed != closed_.contains(key)) {
                closed ? void(closed_.insert(key)) : void(closed_.erase(key));
                nexthops_.refresh(ifindex, nullptr);
            }
        }
    }
}

void consequences::neighbour_changed(const ip_addr &addr, int ifindex)
{
    nexthops_.refresh(ifindex, addr);
    fib_.update_prefix(host_prefix(addr));
}

void consequences::object_changed(const nexthop_message &before, const nexthop_message &now)
{
    const std::uint32_t id = before.id != 0 ? before.id : now.id;
    std::set<std::uint32_t> ids{id};
    for (const auto &[key, object] : state_.objects) {
        if (std::ranges::find(object.what.group, id, &nexthop_message::member::id) != object.what.group.end()) {
            ids.insert(key);
        }
    }
    nexthops_.refresh_objects(ids);
    for (const nexthop_message *what : {&before, &now}) {
        if (what->hop.oif != 0 && what->hop.gateway.family == AF_UNSPEC) {
            update_neighbours_on(what->hop.oif);
        }
    }
}

void consequences::route_changed(const ip_prefix &prefix, bool in_local_table)
{
    fib_.update_prefix(prefix);
    for (auto n = state_.neighbours.lower_bound({prefix.addr, 0});
         n != state_.neighbours.end() && covers(prefix, n->first.first); ++n) {
        fib_.update_prefix(host_prefix(n->first.first));
    }
    if (!in_local_table) {
        return;
    }
    std::vector<ip_prefix> below;
    for (auto e = routes_.entries().upper_bound(prefix); e != routes_.entries().end() && covers(prefix, e->first);
         ++e) {
        below.push_back(e->first);
    }
    std::ranges::for_each(below, [this](const ip_prefix &p) { fib_.update_prefix(p); });
}

} // namespace halfpoll
