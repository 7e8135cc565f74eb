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

/// Contents of RTM_NEWLINK, RTM_DELLINK.
struct link_message {
    int ifindex = 0;
    bool up = false;      ///< administratively up
    bool carrier = false; ///< IFF_LOWER_UP, which the kernel uses when it selects routes
    bool running = false; ///< IFF_RUNNING: the operational state is up, too
    std::uint32_t mtu = 0;
    rte_ether_addr mac{};
    int master = 0; ///< bridge, bond or VRF that the interface belongs to; 0: none
    static constexpr int lower_elsewhere = -1;
    int lower = 0; ///< of a VLAN: ifindex of the device below; 0: not a VLAN; lower_elsewhere: that device is in
                   ///< another namespace
    std::uint16_t vlan_id = 0;
    std::uint16_t vlan_protocol = 0; ///< 0x8100 or 0x88A8
    /// Ifindex of a device below whose frames this interface may take whatever their link address (ipvlan, MACsec,
    /// some modes of macvlan); 0: there is none.
    int takes_from = 0;
    bool promiscuous = false; ///< IFLA_PROMISCUITY, which changes without a message
    std::string name;
    std::vector<std::string> altnames; ///< alternative names, by which commands may name it, too
};

/// Contents of RTM_NEWLINK of AF_INET6: the IPv6 settings of an interface.
struct link6_message {
    int ifindex = 0;
    std::uint32_t mtu = 0;
    bool disabled = false;        ///< disable_ipv6
    bool ignore_linkdown = false; ///< ignore_routes_with_linkdown
};

/// Contents of RTM_NEWNEIGH, RTM_DELNEIGH.
struct neighbour_message {
    int ifindex = 0;
    ip_addr addr;
    bool valid = false; ///< in a state in which the kernel itself sends to `mac`
    bool stale = false; ///< valid, and the kernel verifies it only when it is used
    /// The neighbour has answered the kernel, or an administrator has entered it. A received packet alone does not set
    /// this.
    bool confirmed = false;
    rte_ether_addr mac{};
};

struct route_hop {
    int oif = 0;
    ip_addr gateway; ///< family 0: directly connected
    std::uint16_t weight = 1;
    bool dead = false; ///< the kernel does not use it
    bool operator==(const route_hop &) const = default;
};

/// Contents of RTM_NEWNEXTHOP, RTM_DELNEXTHOP.
struct nexthop_message {
    struct member {
        std::uint32_t id = 0;
        std::uint16_t weight = 1;
        bool operator==(const member &) const = default;
    };
    std::uint32_t id = 0;
    std::vector<member> group; ///< members of a group; the fields below are then not set
    bool blackhole = false;
    bool opaque = false; ///< needs an encapsulation, or is for a bridge (FDB)
    route_hop hop;
    bool operator==(const nexthop_message &) const = default;
};

/// Contents of RTM_NEWROUTE, RTM_DELROUTE.
struct route_message {
    ip_prefix dst;
    std::uint32_t table = 0;
    std::uint32_t metric = 0;
    std::uint32_t mtu = 0;       ///< RTAX_MTU; 0: none
    std::uint8_t type = 0;       ///< RTN_*
    bool cached = false;         ///< a cloned entry (RTM_F_CLONED), not a route
    std::uint8_t tos = 0;        ///< concerns only packets with this TOS; 0: any
    ip_prefix from;              ///< concerns only packets with such a source; length 0: any
    bool opaque = false;         ///< its next hops need an encapsulation
    std::uint32_t nhid = 0;      ///< `ip nexthop` object that holds the next hops; 0: none
    std::vector<route_hop> hops; ///< at least one; with `nhid`: exactly one, without contents
};

/// Each returns no value if the message is malformed or of a family that is not mirrored.
std::optional<link_message> parse_link(const nlmsghdr &message);
std::optional<link6_message> parse_link6(const nlmsghdr &message);
/// Family of RTM_NEWADDR, RTM_DELADDR; AF_UNSPEC if the message is malformed.
std::uint8_t address_family(const nlmsghdr &message);
std::optional<neighbour_message> parse_neighbour(const nlmsghdr &message);
std::optional<route_message> parse_route(const nlmsghdr &message);
std::optional<nexthop_message> parse_nexthop(const nlmsghdr &message);

} // namespace halfpoll
