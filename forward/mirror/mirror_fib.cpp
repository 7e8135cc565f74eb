// SPDX-License-Identifier: BSD-3-Clause
#include "mirror_impl.hpp"

#include <algorithm>
#include <linux/rtnetlink.h>
#include <ranges>
#include <span>

namespace halfpoll
{

void mirror::impl::link_changed(int ifindex)
{
    publish_ingress(ifindex);
    egress_changed(ifindex);
}

/// Re-evaluates the next hops and prefixes that use an interface or a VLAN on it.
void mirror::impl::egress_changed(int ifindex)
{
    nexthops.refresh(ifindex, nullptr);
    for (const auto &[upper, link] : links) {
        if (link.what.lower == ifindex && upper != ifindex) {
            egress_changed(upper);
        }
    }
    reselect();
    neighbours_on(ifindex);
}

/// Re-evaluates the host prefixes of the neighbours on an interface: whether each needs an entry of its own may have
/// changed.
void mirror::impl::neighbours_on(int ifindex)
{
    for (const auto &[key, neighbour] : neighbours) {
        if (key.second == ifindex) {
            evaluate(host_prefix(key.first));
        }
    }
}

/// Copies the settings that an administrator made on the shadow to the device: MTU and link address.
void mirror::impl::adopt_link(net_device &dev, const link_message &before, const link_message &now)
{
    const auto same = [](const rte_ether_addr &a, const rte_ether_addr &b) {
        return rte_is_same_ether_addr(&a, &b) != 0;
    };
    try {
        if (now.mtu != before.mtu && now.mtu != dev.mtu.load(std::memory_order_relaxed)) {
            fwd.core().set_mtu(dev, now.mtu);
        }
        if (!same(now.mac, before.mac) && !same(now.mac, dev.mac)) {
            fwd.core().set_mac(dev, now.mac);
        }
    } catch (const error &e) {
        complain(e.what());
    }
    nexthops.refresh(0, &dev);
}

void mirror::impl::neighbour_changed(const ip_addr &addr, int ifindex)
{
    nexthops.refresh(ifindex, addr);
    evaluate(host_prefix(addr));
}

void mirror::impl::object_changed(const nexthop_message &before, const nexthop_message &now)
{
    const std::uint32_t id = before.id != 0 ? before.id : now.id;
    std::set<std::uint32_t> ids{id};
    for (const auto &[key, object] : objects) {
        if (std::ranges::find(object.what.group, id, &nexthop_message::member::id) != object.what.group.end()) {
            ids.insert(key);
        }
    }
    nexthops.refresh_objects(ids);
    for (const nexthop_message *what : {&before, &now}) {
        if (what->hop.oif != 0 && what->hop.gateway.family == AF_UNSPEC) {
            neighbours_on(what->hop.oif);
        }
    }
}

/// `in_local_table`: routes of the local table changed, which take precedence over all longer prefixes of the main
/// table.
void mirror::impl::route_changed(const ip_prefix &prefix, bool in_local_table)
{
    evaluate(prefix);
    for (auto n = neighbours.lower_bound({prefix.addr, 0}); n != neighbours.end() && covers(prefix, n->first.first);
         ++n) {
        evaluate(host_prefix(n->first.first));
    }
    if (!in_local_table) {
        return;
    }
    std::vector<ip_prefix> below;
    for (auto e = routes.entries().upper_bound(prefix); e != routes.entries().end() && covers(prefix, e->first); ++e) {
        below.push_back(e->first);
    }
    std::ranges::for_each(below, [this](const ip_prefix &p) { evaluate(p); });
}

/// Called when usability changed: repeats the choices among several equal routes.
void mirror::impl::reselect()
{
    const std::set<ip_prefix> all = choices;
    std::ranges::for_each(all, [this](const ip_prefix &prefix) { evaluate(prefix); });
}

/// Brings the FIB's entry for one prefix in line with the known routes and neighbours.
void mirror::impl::evaluate(const ip_prefix &prefix)
{
    const auto found = routes.entries().try_emplace(prefix).first;
    route_entry &entry = found->second;
    const bool stands_in = stand_ins.contains(prefix);
    std::uint32_t wanted = stands_in ? table_full : decide_in_room(prefix, alive(prefix.addr.family, entry.routes));
    std::optional<ip_prefix> punting; // punts in place of `prefix`
    if (!stands_in && wanted != route_entry::none) {
        const bool fresh = entry.nexthop == route_entry::none;
        if (hides_one(prefix) || (fresh && !fits(prefix))) {
            nexthops.release(wanted);
            punting = reach(prefix);
            wanted = punting == prefix ? table_full : route_entry::none;
        } else if (wanted == table_full) {
            punting = prefix;
        }
    }
    if (wanted != entry.nexthop) {
        write_fib(prefix, wanted);
        std::swap(wanted, entry.nexthop);
    }
    nexthops.release(wanted); // the replaced next hop, or the second reference to the same one
    routes.drop_if_unused(found);
    stand_in(prefix, punting);
}

/// As decide(); returns `table_full` if there is no room for the next hop.
std::uint32_t mirror::impl::decide_in_room(const ip_prefix &prefix, std::span<const kernel_route> list)
{
    try {
        return decide(prefix, list);
    } catch (const error &e) {
        full_table = e.what();
        return table_full;
    }
}

/// Acquires the next hop for a prefix. Returns `none` if the prefix does not belong into the FIB. Throws `error` if the
/// next-hop table is full.
std::uint32_t mirror::impl::decide(const ip_prefix &prefix, std::span<const kernel_route> list)
{
    choices.erase(prefix);
    const bool host = prefix.len == address_bits(prefix.addr.family);
    if (list.empty()) {
        return host ? decide_neighbour(prefix.addr) : route_entry::none;
    }
    if (list.front().table != RT_TABLE_LOCAL && routes.under_local(prefix)) {
        return local;
    }
    switch (list.front().type) {
    case RTN_LOCAL:
    case RTN_BROADCAST:
    case RTN_ANYCAST:
    case RTN_MULTICAST:
        return local;
    case RTN_BLACKHOLE:
        return blackhole;
    case RTN_UNREACHABLE:
    case RTN_PROHIBIT:
    case RTN_THROW:
        return nexthop_table::no_route;
    case RTN_UNICAST:
        break;
    default:
        return other;
    }
    const std::span best = best_of(list);
    if (best.size() > 1 && (prefix.addr.family == AF_INET || !std::ranges::all_of(best, can_share))) {
        choices.insert(prefix);
    }
    return acquire(prefix.addr, host, list);
}

/// A neighbour gets a host prefix of its own if the kernel would send to it directly. Returns `none` if it would not.
std::uint32_t mirror::impl::decide_neighbour(const ip_addr &addr)
{
    const std::span cover = lookup(addr);
    if (cover.empty() || never_forwarded(host_prefix(addr)) || routes.under_local(host_prefix(addr)) ||
        cover.front().type != RTN_UNICAST) {
        return route_entry::none;
    }
    const kernel_route &route = choose(cover);
    const route_hop *hop = only_hop(route);
    if (!hop || hop->gateway.family != AF_UNSPEC || !neighbours.contains({addr, hop->oif}) || !egress_of(hop->oif)) {
        return route_entry::none;
    }
    return nexthops.acquire({.oif = hop->oif, .gateway = addr, .family = addr.family, .mtu = route.mtu});
}

/// Acquires the next hop, or the group, that the best routes of a prefix lead to.
std::uint32_t mirror::impl::acquire(const ip_addr &to, bool host, std::span<const kernel_route> list)
{
    const kernel_route &route = choose(list);
    if (route.opaque) {
        return other;
    }
    if (route.nhid != 0) {
        return nexthops.acquire(
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
    return group.members.size() == 1 ? nexthops.acquire(group.members.front().hop) : nexthops.acquire(group);
}

/// The first of the best routes that the data path can use, else the first route.
const kernel_route &mirror::impl::choose(std::span<const kernel_route> list) const
{
    const std::span best = best_of(list);
    const auto found = std::ranges::find_if(best, [this](const kernel_route &r) { return usable(r); });
    return found == best.end() ? list.front() : *found;
}

bool mirror::impl::usable(const kernel_route &route) const
{
    if (route.type != RTN_UNICAST || route.opaque) {
        return false;
    }
    return route.nhid != 0 ||
           std::ranges::any_of(route.hops, [this](const route_hop &hop) { return !hop.dead && usable(hop.oif); });
}

/// The next hop of a route that has only one; null if it has several, or if it is not known.
const route_hop *mirror::impl::only_hop(const kernel_route &route) const
{
    if (route.nhid == 0) {
        return route.hops.size() == 1 && !route.opaque ? &route.hops.front() : nullptr;
    }
    const auto object = objects.find(route.nhid);
    const bool plain = object != objects.end() && object->second.what.group.empty() && !object->second.what.opaque &&
                       !object->second.what.blackhole;
    return plain ? &object->second.what.hop : nullptr;
}

bool mirror::impl::never_forwarded(const ip_prefix &prefix) const
{
    return std::ranges::any_of(fixed, [&](const auto &entry) { return covers(entry.first, prefix); });
}

void mirror::impl::write_fib(const ip_prefix &prefix, std::uint32_t nexthop)
{
    const auto write = [&](auto &fib, const auto &addr) {
        if (nexthop == route_entry::none) {
            fib.remove(addr, prefix.len);
        } else {
            fib.insert(addr, prefix.len, nexthop);
        }
    };
    if (prefix.addr.family == AF_INET) {
        write(fwd.routes4(), to_ipv4(prefix.addr.bytes));
    } else {
        write(fwd.routes6(), prefix.addr.bytes);
    }
}

void mirror::impl::complain(const std::string &what)
{
    ++stats.errors;
    warn(what);
}

void mirror::impl::warn(const std::string &what) const
{
    if (const auto &tell = fwd.core().rt().options().warn) {
        tell("mirror: " + what);
    }
}

} // namespace halfpoll
