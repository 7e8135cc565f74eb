// SPDX-License-Identifier: BSD-3-Clause
#include "mirror_impl.hpp"

#include <algorithm>
#include <linux/rtnetlink.h>

namespace halfpoll
{

void mirror::impl::link_changed(int ifindex)
{
    nexthops.refresh(ifindex, nullptr);
    reselect();
    for (const auto &[key, neighbour] : neighbours) {
        if (key.second == ifindex) {
            evaluate(host_prefix(key.first));
        }
    }
}

/// What people set on the shadow is for the device: MTU and link address.
void mirror::impl::adopt_link(net_device &dev, const known_link &before, known_link now)
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

/// `local`: routes of the local table are concerned, which come before all longer prefixes of the main table.
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

/// Usability changed: choices among several next hops are made again.
void mirror::impl::reselect()
{
    const std::set<ip_prefix> all = choices;
    std::ranges::for_each(all, [this](const ip_prefix &prefix) { evaluate(prefix); });
}

/// Brings the FIB's entry for one prefix in line with what is known.
void mirror::impl::evaluate(const ip_prefix &prefix)
{
    const auto found = routes.entries().try_emplace(prefix).first;
    route_entry &entry = found->second;
    std::uint32_t wanted = route_entry::none;
    try {
        wanted = decide(prefix, entry.routes);
        if (wanted != entry.nexthop) {
            write_fib(prefix, wanted);
            std::swap(wanted, entry.nexthop);
        }
    } catch (const error &e) { // a table is full: what was there stays
        complain(e.what());
    }
    nexthops.release(wanted); // the one that is replaced, or the second use of the same
    routes.drop_if_unused(found);
}

/// The next hop for a prefix, acquired; none: it belongs not into the FIB.
std::uint32_t mirror::impl::decide(const ip_prefix &prefix, const std::vector<kernel_route> &list)
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
    if (best_end(list) - list.begin() > 1 || list.front().hops.size() > 1) {
        choices.insert(prefix);
    }
    const auto [route, hop] = choose(list);
    return acquire(prefix.addr, host, *route, *hop);
}

/// A neighbour gets a prefix of its own if the kernel would send straight to it.
std::uint32_t mirror::impl::decide_neighbour(const ip_addr &addr)
{
    const auto *cover = routes.lookup(addr);
    if (!cover || never_forwarded(host_prefix(addr)) || routes.under_local(host_prefix(addr)) ||
        cover->second.routes.front().type != RTN_UNICAST) {
        return route_entry::none;
    }
    const auto [route, hop] = choose(cover->second.routes);
    const bool connected = hop->gateway.family == AF_UNSPEC && !route->opaque;
    if (!connected || !neighbours.contains({addr, hop->oif}) || !slow.of_kernel_ifindex(hop->oif)) {
        return route_entry::none;
    }
    return acquire(addr, true, *route, *hop);
}

std::uint32_t mirror::impl::acquire(const ip_addr &to, bool host, const kernel_route &route, const route_hop &hop)
{
    if (route.opaque) {
        return other;
    }
    const bool connected = hop.gateway.family == AF_UNSPEC;
    return nexthops.acquire(
        {.oif = hop.oif, .gateway = connected && host ? to : hop.gateway, .family = to.family, .mtu = route.mtu});
}

/// Among the best routes the first next hop that can be used by the data path, else the first.
std::pair<const kernel_route *, const route_hop *> mirror::impl::choose(const std::vector<kernel_route> &list) const
{
    for (auto route = list.begin(); route != best_end(list); ++route) {
        for (const route_hop &hop : route->hops) {
            if (route->type == RTN_UNICAST && !route->opaque && usable(hop.oif)) {
                return {&*route, &hop};
            }
        }
    }
    return {&list.front(), &list.front().hops.front()};
}

bool mirror::impl::usable(int ifindex) const
{
    const shadow *s = slow.of_kernel_ifindex(ifindex);
    const auto link = links.find(ifindex);
    return s && link != links.end() && link->second.up && s->dev->running.load(std::memory_order_relaxed);
}

bool mirror::impl::never_forwarded(const ip_prefix &prefix) const
{
    return std::ranges::any_of(fixed, [&](const auto &entry) { return covers(entry.first, prefix); });
}

adjacency mirror::impl::make_adjacency(const nexthop_key &key) const
{
    const shadow *s = slow.of_kernel_ifindex(key.oif);
    if (!s) {
        return punt_as(PUNT_OTHER); // the kernel forwards
    }
    const auto neighbour = neighbours.find({key.gateway, key.oif});
    if (!usable(key.oif) || neighbour == neighbours.end()) {
        return punt_as(PUNT_RESOLVE);
    }
    const known_link &link = links.at(key.oif);
    adjacency a;
    a.kind = adjacency_kind::forward;
    a.dev = s->dev;
    a.ifindex = s->dev->ifindex;
    const std::uint32_t mtu = std::min(link.mtu, s->dev->mtu.load(std::memory_order_relaxed));
    a.mtu = static_cast<std::uint16_t>(std::min({mtu, key.mtu == 0 ? mtu : key.mtu, 65535U}));
    const rte_ether_hdr header{.dst_addr = neighbour->second.mac,
                               .src_addr = link.mac,
                               .ether_type =
                                   rte_cpu_to_be_16(key.family == AF_INET ? RTE_ETHER_TYPE_IPV4 : RTE_ETHER_TYPE_IPV6)};
    static_assert(sizeof header == 14);
    std::copy_n(reinterpret_cast<const std::uint8_t *>(&header), sizeof header, a.rewrite);
    return a;
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
    const auto &warn = fwd.core().rt().options().warn;
    if (!complained && warn) {
        warn("mirror: " + what);
    }
    complained = true;
}

} // namespace halfpoll
