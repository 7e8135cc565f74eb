// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "show_filter.hpp"

#include "apps/halfpoll/router/router.hpp"

#include <functional>

namespace halfpoll
{

// Tables that may be large: {KEY: [rows of one page], "next": the beginning of the next page, absent on the last one}.
// "dev" is the name of an interface's port, "shadow" its name in the kernel.

/// Returns the prefixes of the FIB and their next hops. The filter's address selects prefixes that cover it, its prefix
/// selects those inside it.
nlohmann::json show_fib(router &r, const show_filter &filter);
/// Returns the kernel's routes as they were learnt, one row for each next hop, best route first. With an address: the
/// result of the lookup for a packet to it.
nlohmann::json show_route(router &r, const show_filter &filter);
/// Returns the neighbours that the kernel would send to.
nlohmann::json show_neigh(router &r, const show_filter &filter);
/// Returns the next hops, with the number of prefixes that use each. The filter's address or prefix selects by gateway.
nlohmann::json show_nexthop(router &r, const show_filter &filter);

/// Describes what a next hop does with packets: kind, dev, lladdr, mtu, why. Safe without a lock: only the control
/// thread replaces adjacencies.
nlohmann::json nexthop_row(router &r, std::uint32_t index);

/// Describes the result of the lookup for an address: "to", the "prefix" that decides, and its next hop.
nlohmann::json lookup_row(router &r, const ip_addr &addr);

/// The interface of a filter, given by the name of its port or shadow.
struct dev_filter {
    /// Throws `error` if there is no interface of that name.
    dev_filter(router &r, const std::string &name);
    bool takes(const net_device *dev) const { return !wanted || dev == wanted; }
    /// True if the next hop, or a member of its group, sends through the interface.
    bool takes(router &r, std::uint32_t nexthop) const;

    const net_device *wanted = nullptr; ///< null: any
};

/// Formats a MAC address as `ip` does.
std::string lladdr_text(const rte_ether_addr &lladdr);

/// Adds the rows of one prefix to a table.
using prefix_rows = std::function<void(nlohmann::json &rows, const ip_prefix &prefix,
                                       std::span<const kernel_route> routes, std::uint32_t nexthop)>;
/// Returns a page of the prefixes that the filter's address or prefix selects.
nlohmann::json page_of_prefixes(router &r, const show_filter &filter, const std::string &key, const prefix_rows &add);

} // namespace halfpoll
