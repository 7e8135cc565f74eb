// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "ip_prefix.hpp"

#include <rte_ether.h>

#include <cstdint>
#include <linux/netlink.h>
#include <optional>
#include <vector>

namespace halfpoll
{

/// RTM_NEWLINK, RTM_DELLINK.
struct link_message {
    int ifindex = 0;
    bool up = false; ///< administratively
    std::uint32_t mtu = 0;
    rte_ether_addr mac{};
};

/// RTM_NEWNEIGH, RTM_DELNEIGH.
struct neighbour_message {
    int ifindex = 0;
    ip_addr addr;
    bool valid = false; ///< in a state in which the kernel itself would send to `mac`
    rte_ether_addr mac{};
};

struct route_hop {
    int oif = 0;
    ip_addr gateway; ///< family 0: connected
    bool operator==(const route_hop &) const = default;
};

/// RTM_NEWROUTE, RTM_DELROUTE.
struct route_message {
    ip_prefix dst;
    std::uint32_t table = 0;
    std::uint32_t metric = 0;
    std::uint32_t mtu = 0; ///< RTAX_MTU; 0: none
    std::uint8_t type = 0; ///< RTN_*
    bool cached = false;   ///< a cloned entry, no route
    bool special = false;  ///< depends on more than the destination (TOS, source prefix)
    bool opaque = false;   ///< its next hops are not told or want an encapsulation
    std::vector<route_hop> hops;
};

/// Empty if the message is malformed or of a family that is not followed.
std::optional<link_message> parse_link(const nlmsghdr &message);
std::optional<neighbour_message> parse_neighbour(const nlmsghdr &message);
std::optional<route_message> parse_route(const nlmsghdr &message);

} // namespace halfpoll
