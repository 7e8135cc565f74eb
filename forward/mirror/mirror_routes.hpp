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

/// A route as the kernel holds it. For IPv6 there is one per next hop, as in the kernel.
struct kernel_route {
    std::uint32_t table = 0;
    std::uint32_t metric = 0;
    std::uint32_t mtu = 0;
    std::uint8_t type = 0;
    bool opaque = false;
    std::uint8_t tos = 0;         ///< concerns only packets with this TOS; 0: any
    ip_prefix from;               ///< concerns only packets with such a source; length 0: any
    std::uint32_t nhid = 0;       ///< `ip nexthop` object that takes the place of `hops`; 0: none
    std::uint32_t generation = 0; ///< of the last dump that showed it
    std::vector<route_hop> hops;

    /// True if more than the destination decides whether a packet takes it. The kernel then forwards to its prefix.
    bool special() const noexcept { return tos != 0 || from.len != 0; }
};

/// The known routes of one prefix: special ones last, the local table before the main table, then by metric, then in
/// the kernel's order.
struct route_entry {
    static constexpr std::uint32_t none = UINT32_MAX;

    std::vector<kernel_route> routes;
    std::uint32_t nexthop = none; ///< the next hop that the FIB holds for the prefix
};

/// The kernel's main and local tables for both families, with the kernel's rules for the order of equal metrics, for
/// replacements and for deletions. Has no effect outside this object.
class route_table
{
public:
    using map = std::map<ip_prefix, route_entry>;

    enum class source {
        dump,    ///< a dump entry; entries come in the kernel's order
        prepend, ///< notification of a new route
        append,  ///< notification of a new route with NLM_F_APPEND
        replace, ///< notification of a new route with NLM_F_REPLACE
    };

    /// Begins a dump. sweep() at its end removes the routes that it did not show.
    void begin_dump() noexcept { ++generation_; }
    /// Adds a route. Returns true if something changed.
    bool add(const route_message &message, source from);
    bool remove(const route_message &message);
    /// Keeps the known routes of a prefix over this dump, whose entries for it do not count.
    void keep(const ip_prefix &prefix);
    /// Removes the routes that the dump did not show and returns the prefixes that changed. `only`: restricts this to
    /// these prefixes, unless it is empty.
    std::vector<ip_prefix> sweep(std::uint8_t family, const std::set<ip_prefix> &only);

    /// The most specific prefix of at most `max_len` bits that covers the address and has a route; null: none.
    const map::value_type *lookup(const ip_addr &addr, unsigned max_len) const;
    /// True if a shorter prefix of the local table covers it: the kernel searches that table first.
    bool under_local(const ip_prefix &prefix) const;

    /// Number of prefixes that have a special route.
    std::size_t special_prefixes() const noexcept { return special_prefixes_; }

    /// There is an entry for each prefix that has routes or is in the FIB. Call drop_if_unused() after either is
    /// removed.
    map &entries() noexcept { return entries_; }
    const map &entries() const noexcept { return entries_; }
    void drop_if_unused(map::iterator entry);

private:
    bool add_ipv4(std::vector<kernel_route> &routes, const kernel_route &route, source from);
    bool add_ipv6(std::vector<kernel_route> &routes, const kernel_route &route);
    void count(const ip_prefix &prefix, const std::vector<kernel_route> &routes, int sign);

    map entries_;
    /// Number of prefixes with routes, and with local routes, by family (0: IPv4) and length: lookups visit only
    /// lengths in use.
    std::array<std::array<std::uint32_t, 129>, 2> lengths_{};
    std::array<std::array<std::uint32_t, 129>, 2> local_lengths_{};
    std::size_t special_prefixes_ = 0;
    std::uint32_t generation_ = 0;
};

/// IPv6: true if the route may be one of several next hops that share a metric.
bool can_share(const kernel_route &route);

/// The routes of the first table and metric: the kernel chooses among these.
std::span<const kernel_route> best_of(std::span<const kernel_route> routes);

} // namespace halfpoll
