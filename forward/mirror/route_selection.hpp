// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "egress_path.hpp"
#include "kernel_state.hpp"
#include "mirror_routes.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace halfpoll
{

/// Selects the known routes that the kernel would use now. Has no state of its own.
class route_selection
{
public:
    route_selection(const kernel_state &state, const route_table &routes, const egress_paths &egress)
        : state_(state), routes_(routes), egress_(egress)
    {
    }

    /// The routes of a prefix that the kernel considers, best first. If all routes of the best metric lead to dead
    /// links, the kernel goes on to the next metric.
    std::span<const kernel_route> considered(std::uint8_t family, const std::vector<kernel_route> &list) const;
    /// The considered routes of the most specific prefix that covers an address. If a prefix has none, the kernel goes
    /// on to the next shorter one.
    std::span<const kernel_route> lookup(const ip_addr &addr) const;
    /// The first of the best routes that the data path can use, else the first route. `list` is not empty.
    const kernel_route &first_usable(std::span<const kernel_route> list) const;
    /// The next hop of a route that has only one; null if it has several, or if it is not known.
    const route_hop *only_hop(const kernel_route &route) const;

private:
    bool usable(const kernel_route &route) const;

    const kernel_state &state_;
    const route_table &routes_;
    const egress_paths &egress_;
};

} // namespace halfpoll
