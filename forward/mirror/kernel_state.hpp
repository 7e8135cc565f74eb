// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "forward/netlink/netconf.hpp"
#include "forward/netlink/netlink_parse.hpp"

#include <cstdint>
#include <map>
#include <set>
#include <utility>

namespace halfpoll
{

struct known_link {
    link_message what;
    bool is_shadow = false;
    std::uint32_t generation = 0; ///< load_state::generation when the kernel last showed it
};

struct known_neighbour {
    rte_ether_addr mac{};
    bool stale = false;     ///< in NUD_STALE, and not reported to the kernel as in use since
    bool confirmed = false; ///< was confirmed with this link address: slow_path::add_known() was called
    std::uint32_t generation = 0;
};

/// Ordered by address, so that the neighbours under a prefix stand together.
using neighbour_map = std::map<std::pair<ip_addr, int>, known_neighbour>;

struct known_object {
    nexthop_message what;
    std::uint32_t generation = 0;
};

/// The state that the kernel has reported, except for its routes (route_table). Data only: link_mirror,
/// promiscuity_mirror, neighbour_mirror, object_mirror, rule_mirror and route_mirror write it, neighbour_tender clears
/// `stale`, all others read it.
struct kernel_state {
    std::map<int, known_link> links;     ///< by ifindex
    std::map<int, link6_message> links6; ///< by ifindex: the IPv6 settings of links
    netconf_table netconf;
    neighbour_map neighbours; ///< only valid ones
    std::map<std::uint32_t, known_object> objects;
    /// Family and ifindex of interfaces without carrier whose routes do not count (ignore_routes_with_linkdown).
    std::set<std::pair<std::uint8_t, int>> dead_links;
    std::set<std::uint8_t> default_table; ///< families whose table `default` has routes
    /// Families in which packets for which the main table has no route may find one in another table (`ip rule`).
    std::set<std::uint8_t> beyond_main;
    std::set<int> promiscuous; ///< ifindex of shadows in promiscuous mode
};

} // namespace halfpoll
