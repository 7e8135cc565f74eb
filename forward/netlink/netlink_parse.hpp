// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "forward/tables/ip_prefix.hpp"

#include <rte_ether.h>

#include <cstdint>
#include <linux/netlink.h>
#include <optional>
#include <string>
#include <vector>

namespace halfpoll
{

/// RTM_NEWLINK, RTM_DELLINK.
struct link_message {
    int ifindex = 0;
    bool up = false;      ///< administratively
    bool carrier = false; ///< as the kernel sees it when it chooses among routes
    bool running = false; ///< its operational state is up, too
    std::uint32_t mtu = 0;
    rte_ether_addr mac{};
    int master = 0; ///< bridge, bond or VRF that it belongs to; 0: none
    static constexpr int lower_elsewhere = -1;
    int lower = 0; ///< of a VLAN: what it sits on; 0: it is none; lower_elsewhere: in another namespace
    std::uint16_t vlan_id = 0;
    std::uint16_t vlan_protocol = 0; ///< 0x8100 or 0x88A8
    std::string name;
};

/// RTM_NEWLINK of AF_INET6: IPv6's own settings of an interface.
struct link6_message {
    int ifindex = 0;
    std::uint32_t mtu = 0;
    bool disabled = false;        ///< disable_ipv6
    bool ignore_linkdown = false; ///< ignore_routes_with_linkdown
};

/// RTM_NEWNEIGH, RTM_DELNEIGH.
struct neighbour_message {
    int ifindex = 0;
    ip_addr addr;
    bool valid = false; ///< in a state in which the kernel itself would send to `mac`
    bool stale = false; ///< valid, and the kernel looks after it only if it is used
    /// It has answered the kernel, or people have entered it: no packet alone brings this about.
    bool confirmed = false;
    rte_ether_addr mac{};
};

struct route_hop {
    int oif = 0;
    ip_addr gateway; ///< family 0: connected
    std::uint16_t weight = 1;
    bool dead = false; ///< the kernel does not use it
    bool operator==(const route_hop &) const = default;
};

/// RTM_NEWNEXTHOP, RTM_DELNEXTHOP.
struct nexthop_message {
    struct member {
        std::uint32_t id = 0;
        std::uint16_t weight = 1;
        bool operator==(const member &) const = default;
    };
    std::uint32_t id = 0;
    std::vector<member> group; ///< of a group; the rest is then empty
    bool blackhole = false;
    bool opaque = false; ///< wants an encapsulation, or is for a bridge
    route_hop hop;
    bool operator==(const nexthop_message &) const = default;
};

/// RTM_NEWRULE.
struct rule_message {
    std::uint8_t family = 0;
    std::uint32_t table = 0;
    bool neutral = false; ///< of no consequence for forwarded packets
    bool plain = false;   ///< every packet to `table`
};

/// RTM_NEWROUTE, RTM_DELROUTE.
struct route_message {
    ip_prefix dst;
    std::uint32_t table = 0;
    std::uint32_t metric = 0;
    std::uint32_t mtu = 0;       ///< RTAX_MTU; 0: none
    std::uint8_t type = 0;       ///< RTN_*
    bool cached = false;         ///< a cloned entry, no route
    bool special = false;        ///< depends on more than the destination (TOS, source prefix)
    bool opaque = false;         ///< its next hops want an encapsulation
    std::uint32_t nhid = 0;      ///< `ip nexthop` object, which says it all; 0: none
    std::vector<route_hop> hops; ///< at least one; of an object: one that says nothing
};

/// Empty if the message is malformed or of a family that is not followed.
std::optional<link_message> parse_link(const nlmsghdr &message);
std::optional<link6_message> parse_link6(const nlmsghdr &message);
/// Of RTM_NEWADDR, RTM_DELADDR; AF_UNSPEC if malformed.
std::uint8_t address_family(const nlmsghdr &message);
std::optional<neighbour_message> parse_neighbour(const nlmsghdr &message);
std::optional<route_message> parse_route(const nlmsghdr &message);
std::optional<nexthop_message> parse_nexthop(const nlmsghdr &message);
std::optional<rule_message> parse_rule(const nlmsghdr &message);

} // namespace halfpoll
