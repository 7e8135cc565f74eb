// SPDX-License-Identifier: BSD-3-Clause
#include "mirror_impl.hpp"

namespace halfpoll
{

void mirror::visit_routes(const ip_prefix &from, const route_visitor &fn) const
{
    const auto &entries = impl_->routes.entries();
    const auto &prefixes = impl_->fixed.prefixes();
    auto entry = entries.lower_bound(from);
    // The mirror keeps no route under a prefix that is never forwarded: the two sequences share no prefix.
    for (auto fixed = prefixes.lower_bound(from); entry != entries.end() || fixed != prefixes.end();) {
        const bool take_fixed = fixed != prefixes.end() && (entry == entries.end() || fixed->first < entry->first);
        const bool more = take_fixed ? fn(fixed->first, {}, fixed->second)
                                     : fn(entry->first, entry->second.routes, entry->second.nexthop);
        if (!more) {
            return;
        }
        take_fixed ? static_cast<void>(++fixed) : static_cast<void>(++entry);
    }
}

void mirror::visit_neighbours(const neighbour_visitor &fn) const
{
    for (const auto &[key, neighbour] : impl_->state.neighbours) {
        fn(key.first, key.second, neighbour.mac);
    }
}

void mirror::visit_nexthops(const nexthop_visitor &fn) const { impl_->nexthops.visit(fn); }

} // namespace halfpoll
