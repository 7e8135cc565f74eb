// SPDX-License-Identifier: BSD-3-Clause
#include "mirror_impl.hpp"

#include <algorithm>
#include <set>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <tuple>

namespace halfpoll
{

namespace
{

/// True if all packets that come in by an interface of a port are punted: whatever the reason, the data path knows.
bool is_kernel_only(const rx_port *port, int ifindex)
{
    const auto here = [ifindex](const rx_interface &in) {
        return in.kernel_only && in.oif == static_cast<std::uint32_t>(ifindex);
    };
    return port != nullptr && (here(port->untagged) || std::ranges::any_of(port->tagged, here));
}

} // namespace

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

void mirror::visit_policies(const policy_visitor &fn) const
{
    const impl &m = *impl_;
    for (const auto &[ifindex, link] : m.state.links) {
        const auto path = m.egress.of(ifindex);
        for (const std::uint8_t family : {std::uint8_t{AF_INET}, std::uint8_t{AF_INET6}}) {
            if (path) {
                fn(m.policy_of(ifindex, link.what, *path->port, family));
            }
        }
    }
}

interface_policy mirror::impl::policy_of(int ifindex, const link_message &link, const shadow &port,
                                         std::uint8_t family) const
{
    interface_policy found{.ifindex = ifindex, .name = link.name, .port = &port, .family = family};
    if (is_kernel_only(fwd.interfaces().get(port.dev->ifindex), ifindex)) {
        const auto master = state.links.find(link.master);
        found.kernel_in = true;
        found.reasons.push_back({.kind = "upper",
                                 .text = master == state.links.end() ? "an interface on top takes its frames"
                                                                     : "belongs to " + master->second.what.name});
    }
    std::set<std::tuple<policy_kind, policy_side, std::string_view>> seen; // a VLAN and the shadow below it share most
    for (const policy_side side : {policy_side::in, policy_side::out}) {
        gate.visit(family, side, ifindex, [&](policy_kind kind, const policy_reason &reason) {
            if (seen.emplace(kind, side, reason.text).second) {
                const std::string_view name = policy_kind_names[static_cast<std::size_t>(kind)];
                found.reasons.push_back(
                    {.kind = name, .side = side, .text = reason.text, .obeyed = policies.obeys(kind)});
            }
        });
    }
    found.kernel_in |= gate.kernel_forwards(family, policy_side::in, ifindex);
    found.kernel_out = gate.kernel_forwards(family, policy_side::out, ifindex);
    return found;
}

} // namespace halfpoll
