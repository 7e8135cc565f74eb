// SPDX-License-Identifier: BSD-3-Clause
#include "mirror_impl.hpp"

#include <algorithm>
#include <linux/rtnetlink.h>

namespace halfpoll
{

/// Called when an interface's carrier or its ignore_routes_with_linkdown changed: routes over it may no longer count,
/// or count again.
void mirror::impl::carrier_changed(int ifindex)
{
    const auto link = links.find(ifindex);
    const bool carrier = link == links.end() || link->second.what.carrier;
    for (const std::uint8_t family : {std::uint8_t{AF_INET}, std::uint8_t{AF_INET6}}) {
        const bool dead = !carrier && netconf.ignores_routes_with_linkdown(family, ifindex);
        const std::pair key(family, ifindex);
        if (dead != dead_links.contains(key)) {
            dead ? void(dead_links.insert(key)) : void(dead_links.erase(key));
            reroute(family, ifindex);
        }
    }
}

/// Re-evaluates all prefixes of a family that have a route over an interface.
void mirror::impl::reroute(std::uint8_t family, int ifindex)
{
    const auto is_over = [ifindex](const kernel_route &r) {
        return std::ranges::find(r.hops, ifindex, &route_hop::oif) != r.hops.end();
    };
    std::vector<ip_prefix> over;
    for (const auto &[prefix, entry] : routes.entries()) {
        if (prefix.addr.family == family && std::ranges::any_of(entry.routes, is_over)) {
            over.push_back(prefix);
        }
    }
    std::ranges::for_each(over, [this](const ip_prefix &prefix) { route_changed(prefix, false); });
}

/// The routes of a prefix that the kernel considers, best first. If all routes of the best metric lead to dead links,
/// the kernel goes on to the next metric.
std::span<const kernel_route> mirror::impl::alive(std::uint8_t family, const std::vector<kernel_route> &list) const
{
    const auto on_dead_link = [&](const route_hop &hop) { return dead_links.contains({family, hop.oif}); };
    const auto dead = [&](const kernel_route &r) {
        return r.type == RTN_UNICAST && r.nhid == 0 && std::ranges::all_of(r.hops, on_dead_link);
    };
    std::span<const kernel_route> left(list);
    while (!dead_links.empty() && !left.empty() && std::ranges::all_of(best_of(left), dead)) {
        left = left.subspan(best_of(left).size());
    }
    return left;
}

/// The considered routes of the most specific prefix that covers an address. If a prefix has none, the kernel goes on
/// to the next shorter one.
std::span<const kernel_route> mirror::impl::lookup(const ip_addr &addr) const
{
    unsigned max_len = address_bits(addr.family);
    for (;;) {
        const auto *cover = routes.lookup(addr, max_len);
        if (!cover) {
            return {};
        }
        const std::span left = alive(addr.family, cover->second.routes);
        if (!left.empty() || cover->first.len == 0) {
            return left;
        }
        max_len = cover->first.len - 1U;
    }
}

} // namespace halfpoll
