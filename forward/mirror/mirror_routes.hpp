// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "forward/netlink/netlink_parse.hpp"

#include <array>
#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <vector>

namespace halfpoll
{

/// A route as the kernel holds it. IPv6 keeps one per next hop, as the kernel does.
struct kernel_route {
    std::uint32_t table = 0;
    std::uint32_t metric = 0;
    std::uint32_t mtu = 0;
    std::uint8_t type = 0;
    bool opaque = false;
    std::uint32_t nhid = 0;       ///< `ip nexthop` object, instead of `hops`; 0: none
    std::uint32_t generation = 0; ///< last dump that showed it
    std::vector<route_hop> hops;
};

/// What is known about one prefix: the local table before the main table, then by metric, then in the kernel's order.
struct route_entry {
    static constexpr std::uint32_t none = UINT32_MAX;

    std::vector<kernel_route> routes;
    std::uint32_t nexthop = none; ///< what the FIB holds for it
};

/// The kernel's main and local tables for both families, in the kernel's own terms: the order of equal metrics, what a
/// replacement replaces, what a deletion deletes. Pure bookkeeping.
class route_table
{
public:
    using map = std::map<ip_prefix, route_entry>;

    enum class source {
        dump,    ///< entries come in the kernel's order
        prepend, ///< notification of a new route
        append,  ///< with NLM_F_APPEND
        replace, ///< with NLM_F_REPLACE
    };

    /// A dump begins: what it does not show is gone by its end.
    void begin_dump() noexcept { ++generation_; }
    /// True if something changed.
    bool add(const route_message &message, source from);
    bool remove(const route_message &message);
    /// The dump tells nothing of this prefix: what is known stays.
    void keep(const ip_prefix &prefix);
    /// Removes what the dump did not show and returns the prefixes that changed. `only`: of these prefixes alone, if
    /// there are any.
    std::vector<ip_prefix> sweep(std::uint8_t family, const std::set<ip_prefix> &only);

    /// The most specific prefix of at most `max_len` bits with a route that covers the address; null: none.
    const map::value_type *lookup(const ip_addr &addr, unsigned max_len) const;
    /// A shorter prefix of the local table covers it: the kernel looks there first.
    bool under_local(const ip_prefix &prefix) const;

    /// Entries exist for prefixes that have routes or stand in the FIB. drop_if_unused() after either went.
    map &entries() noexcept { return entries_; }
    void drop_if_unused(map::iterator entry);

private:
    bool add_ipv4(std::vector<kernel_route> &routes, const kernel_route &route, source from);
    bool add_ipv6(std::vector<kernel_route> &routes, const kernel_route &route);
    void count(const ip_prefix &prefix, const std::vector<kernel_route> &routes, int sign);

    map entries_;
    /// Prefixes with routes, and with local routes, by family (0: IPv4) and length: lookups visit only lengths in use.
    std::array<std::array<std::uint32_t, 129>, 2> lengths_{};
    std::array<std::array<std::uint32_t, 129>, 2> local_lengths_{};
    std::uint32_t generation_ = 0;
};

/// IPv6: may be one of several next hops of one route.
bool can_share(const kernel_route &route);

/// The routes of the first table and metric: those among which the kernel chooses.
std::span<const kernel_route> best_of(std::span<const kernel_route> routes);

} // namespace halfpoll
