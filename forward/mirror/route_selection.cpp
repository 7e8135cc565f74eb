// SPDX-License-Identifier: BSD-3-Clause
#include "route_selection.hpp"

#include <algorithm>
#include <linux/rtnetlink.h>

namespace halfpoll
{

std::span<const kernel_route> route_selection::considered(std::uint8_t family,
                                                          const std::vector<kernel_route> &list) const
{
    const auto on_dead_link = [&](const route_hop &hop) { return state_.dead_links.contains({family, hop.oif}); };
    const auto dead = [&](const kernel_route &r) {
        return r.type == RTN_UNICAST && r.nhid == 0 && std::ranges::all_of(r.hops, on_dead_link);
    };
    std::span<const kernel_route> left(list);
    while (!state_.dead_links.empty() && !left.empty() && !left.front().special() &&
           std::ranges::all_of(best_of(left), dead)) {
        left = left.subspan(best_of(left).size());
    }
    return left;
}

std::span<const kernel_route> route_selection::lookup(const ip_addr &addr) const
{
    unsigned max_len = address_bits(addr.family);
    for (;;) {
        const auto *cover = routes_.lookup(addr, max_len);
        if (!cover) {
            return {};
        }
        const std::span left = considered(addr.family, cover->second.routes);
        if (!left.empty() || cover->first.len == 0) {
            return left;
        }
        max_len = cover->first.len - 1U;
    }
}

const kernel_route &route_selection::first_usable(std::span<const kernel_route> list) const
{
    const std::span best = best_of(list);
    const auto found = std::ranges::find_if(best, [this](const kernel_route &r) { return usable(r); });
    return found == best.end() ? list.front() : *found;
}

bool route_selection::usable(const kernel_route &route) const
{
    if (route.type != RTN_UNICAST || route.opaque) {
        return false;
    }
    return route.nhid != 0 || std::ranges::any_of(route.hops, [this](const route_hop &hop) {
               return !hop.dead && egress_.usable(hop.oif);
           });
}

const route_hop *route_selection::only_hop(const kernel_route &route) const
{
    if (route.nhid == 0) {
        return route.hops.size() == 1 && !route.opaque ? &route.hops.front() : nullptr;
    }
    const auto object = state_.objects.find(route.nhid);
    const bool plain = object != state_.objects.end() && object->second.what.group.empty() &&
                       !object->second.what.opaque && !object->second.what.blackhole;
    return plain ? &object->second.what.hop : nullptr;
}

} // namespace halfpoll
