// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "show_filter.hpp"

#include "apps/halfpoll/router/router.hpp"

#include <functional>

namespace halfpoll
{

// Tables that may be large: {KEY: [rows of one page], "next": where the next page begins, absent on the last one}.
// Interfaces are told by "dev", the name of the port, and "shadow", its name in the kernel.

/// Prefixes of the FIB and where they go. An address: those that cover it; a prefix: those inside.
nlohmann::json show_fib(router &r, const show_filter &filter);
/// The kernel's routes as they were learnt, one row a next hop, best first. An address: what a packet to it meets.
nlohmann::json show_route(router &r, const show_filter &filter);
/// Neighbours that the kernel would send to.
nlohmann::json show_neigh(router &r, const show_filter &filter);
/// Next hops, with the number of prefixes that use each. An address or prefix: by gateway.
nlohmann::json show_nexthop(router &r, const show_filter &filter);

/// What a next hop does with packets: kind, dev, lladdr, mtu, why. Only the control thread replaces adjacencies, so
/// they stay while it looks.
nlohmann::json nexthop_row(router &r, std::uint32_t index);

/// What a packet to an address meets: "to", the "prefix" that decides, and its next hop.
nlohmann::json lookup_row(router &r, const ip_addr &addr);

/// The interface of a filter, by the name of its port or shadow.
struct dev_filter {
    /// Throws `error` if there is none of that name.
    dev_filter(router &r, const std::string &name);
    bool takes(const net_device *dev) const { return !wanted || dev == wanted; }
    /// A next hop, or a member of a group, goes out there.
    bool takes(router &r, std::uint32_t nexthop) const;

    const net_device *wanted = nullptr; ///< null: any
};

/// Adds the rows of one prefix.
using prefix_rows = std::function<void(nlohmann::json &rows, const ip_prefix &prefix,
                                       std::span<const kernel_route> routes, std::uint32_t nexthop)>;
/// A page of those prefixes that the filter's address or prefix takes.
nlohmann::json page_of_prefixes(router &r, const show_filter &filter, const std::string &key, const prefix_rows &add);

} // namespace halfpoll
