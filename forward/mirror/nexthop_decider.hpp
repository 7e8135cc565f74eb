// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "egress_path.hpp"
#include "fixed_entries.hpp"
#include "kernel_state.hpp"
#include "mirror_nexthops.hpp"
#include "mirror_routes.hpp"
#include "route_selection.hpp"

#include <cstdint>
#include <set>
#include <span>

namespace halfpoll
{

/// Decides which next hop the FIB is to hold for a prefix. Reads the kernel's state, writes only next hops.
class nexthop_decider
{
public:
    nexthop_decider(const kernel_state &state, const route_table &routes, const egress_paths &egress,
                    const route_selection &selection, const fixed_entries &fixed, shared_nexthops &nexthops)
        : state_(state), routes_(routes), egress_(egress), selection_(selection), fixed_(fixed), nexthops_(nexthops)
    {
    }

    /// Acquires the next hop for a prefix, whose considered routes are `list`. Returns `none` if the prefix does not
    /// belong into the FIB. Throws `error` if the next-hop table is full.
    std::uint32_t acquire_for_prefix(const ip_prefix &prefix, std::span<const kernel_route> list);
    /// Prefixes with several equally good routes that do not form one group.
    const std::set<ip_prefix> &choices() const noexcept { return choices_; }

private:
    std::uint32_t acquire_without_route(const ip_prefix &prefix);
    std::uint32_t acquire_for_forwarding(const ip_prefix &prefix, std::span<const kernel_route> list);
    std::uint32_t acquire_for_neighbour(const ip_addr &addr);
    std::uint32_t acquire_for_routes(const ip_addr &to, bool host, std::span<const kernel_route> list);

    const kernel_state &state_;
    const route_table &routes_;
    const egress_paths &egress_;
    const route_selection &selection_;
    const fixed_entries &fixed_;
    shared_nexthops &nexthops_;
    std::set<ip_prefix> choices_;
};

} // namespace halfpoll
