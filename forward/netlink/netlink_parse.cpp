// SPDX-License-Identifier: BSD-3-Clause
#include "netlink_parse.hpp"

#include "attributes.hpp"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <linux/if.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/ipv6.h>
#include <linux/neighbour.h>
#include <linux/nexthop.h>
#include <linux/rtnetlink.h>
#include <string_view>

namespace halfpoll
{

namespace
{

constexpr unsigned nud_valid = NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE | NUD_PERMANENT | NUD_NOARP;

/// RTA_VIA: a gateway of another family than the route's.
ip_addr get_via(const nlattr *attr)
{
    const auto *via = static_cast<const rtvia *>(mnl_attr_get_payload(attr));
    const std::size_t size = mnl_attr_get_payload_len(attr);
    if (size < sizeof *via) {
        return {};
    }
    return get_addr(static_cast<std::uint8_t>(via->rtvia_family), via->rtvia_addr, size - sizeof *via);
}

bool get_mac(const nlattr *attr, rte_ether_addr &mac)
{
    if (mnl_attr_get_payload_len(attr) != sizeof mac.addr_bytes) {
        return false;
    }
    std::memcpy(mac.addr_bytes, mnl_attr_get_payload(attr), sizeof mac.addr_bytes);
    return true;
}

std::uint32_t get_mtu(const nlattr *metrics)
{
    std::uint32_t mtu = 0;
    for_each_attr(mnl_attr_get_payload(metrics), mnl_attr_get_payload_len(metrics), [&](const nlattr *attr) {
        if (mnl_attr_get_type(attr) == RTAX_MTU) {
            mtu = get_u32(attr);
        }
    });
    return mtu;
}

/// What IFLA_LINKINFO says about an interface.
struct link_kind {
    std::string name;
    bool any_address = false; ///< a macvlan that may take frames to any link address
};

void parse_vlan(const nlattr *data, link_message &link)
{
    link.vlan_protocol = ETH_P_8021Q;
    for_each_nested(data, [&](const nlattr *attr) {
        if (mnl_attr_get_type(attr) == IFLA_VLAN_ID) {
            link.vlan_id = get_u16(attr);
        } else if (mnl_attr_get_type(attr) == IFLA_VLAN_PROTOCOL) {
            link.vlan_protocol = rte_be_to_cpu_16(get_u16(attr));
        }
    });
}

/// Of a macvlan or macvtap: the other modes take only what is addressed to them or to a group.
bool takes_any_address(const nlattr *data)
{
    bool any = false;
    for_each_nested(data, [&](const nlattr *attr) {
        any |= mnl_attr_get_type(attr) == IFLA_MACVLAN_MODE &&
               (get_u32(attr) & (MACVLAN_MODE_PASSTHRU | MACVLAN_MODE_SOURCE)) != 0;
    });
    return any;
}

/// The kind stands before its data.
link_kind parse_linkinfo(const nlattr *info, link_message &link)
{
    link_kind kind;
    for_each_nested(info, [&](const nlattr *attr) {
        if (mnl_attr_get_type(attr) == IFLA_INFO_KIND) {
            kind.name = get_text(attr);
        } else if (mnl_attr_get_type(attr) == IFLA_INFO_DATA && kind.name == "vlan") {
            parse_vlan(attr, link);
        } else if (mnl_attr_get_type(attr) == IFLA_INFO_DATA && kind.name.starts_with("macv")) {
            kind.any_address = takes_any_address(attr);
        }
    });
    return kind;
}

/// Whether an interface with another one below it may take frames there whatever their link address. A VLAN takes those
/// with its tag, a macvlan those to its address, and a tunnel none: its packets are for an address of the box. What is
/// not known may take any.
bool takes_all(const link_kind &kind)
{
    constexpr std::string_view tunnels[] = {"vxlan",  "geneve", "bareudp", "gre",    "gretap",    "erspan",
                                            "ip6gre", "ip6tnl", "ipip",    "sit",    "vti",       "vti6",
                                            "xfrm",   "gtp",    "veth",    "netkit", "ip6gretap", "ip6erspan"};
    const bool addressed = kind.name == "macvlan" || kind.name == "macvtap";
    return addressed ? kind.any_address
                     : kind.name != "vlan" && std::ranges::find(tunnels, kind.name) == std::end(tunnels);
}

/// An entry of NHA_GROUP. Linux 6.12 defined the upper half of the weight and renamed its field in <linux/nexthop.h>;
/// older kernels leave that byte 0.
struct group_entry {
    std::uint32_t id;
    std::uint8_t weight;
    std::uint8_t weight_high;
    std::uint16_t reserved;
};
static_assert(sizeof(group_entry) == sizeof(nexthop_grp));

/// NHA_GROUP: its payload is an array, not a list of attributes.
void parse_group(const nlattr *attr, nexthop_message &nexthop)
{
    const auto *entry = static_cast<const group_entry *>(mnl_attr_get_payload(attr));
    for (std::size_t n = mnl_attr_get_payload_len(attr) / sizeof *entry; n > 0; --n, ++entry) {
        const auto weight = static_cast<std::uint16_t>((entry->weight_high << 8 | entry->weight) + 1);
        nexthop.group.push_back({.id = entry->id, .weight = weight});
    }
}

/// Attributes that may occur in a route and in each of its next hops.
void parse_hop_attr(const nlattr *attr, std::uint8_t family, route_hop &hop, route_message &route)
{
    switch (mnl_attr_get_type(attr)) {
    case RTA_GATEWAY:
        hop.gateway = get_addr(family, attr);
        break;
    case RTA_VIA:
        hop.gateway = get_via(attr);
        route.opaque |= hop.gateway.family == AF_UNSPEC;
        break;
    case RTA_ENCAP_TYPE:
        route.opaque = true;
        break;
    default:
        break;
    }
}

void parse_multipath(const nlattr *multipath, std::uint8_t family, route_message &route)
{
    const auto *hop = static_cast<const rtnexthop *>(mnl_attr_get_payload(multipath));
    int left = mnl_attr_get_payload_len(multipath);
    while (left >= static_cast<int>(sizeof *hop) && hop->rtnh_len >= sizeof *hop && hop->rtnh_len <= left) {
        route_hop &added = route.hops.emplace_back();
        added.oif = hop->rtnh_ifindex;
        added.dead = (hop->rtnh_flags & RTNH_F_DEAD) != 0;
        added.weight = static_cast<std::uint16_t>(hop->rtnh_hops + 1);
        const auto *payload = reinterpret_cast<const std::uint8_t *>(hop) + sizeof *hop;
        for_each_attr(payload, hop->rtnh_len - sizeof *hop,
                      [&](const nlattr *attr) { parse_hop_attr(attr, family, added, route); });
        const int step = static_cast<int>(MNL_ALIGN(hop->rtnh_len));
        hop = reinterpret_cast<const rtnexthop *>(reinterpret_cast<const char *>(hop) + step);
        left -= step;
    }
}

} // namespace

std::optional<link_message> parse_link(const nlmsghdr &message)
{
    const auto *header = header_of<ifinfomsg>(message);
    if (!header || header->ifi_family != AF_UNSPEC) {
        return {};
    }
    link_message link;
    link.ifindex = header->ifi_index;
    link.up = (header->ifi_flags & IFF_UP) != 0;
    link.carrier = (header->ifi_flags & IFF_LOWER_UP) != 0;
    link.running = (header->ifi_flags & IFF_RUNNING) != 0;
    int lower = 0;
    bool elsewhere = false;
    link_kind kind;
    for_each_attr(message, sizeof *header, [&](const nlattr *attr) {
        switch (mnl_attr_get_type(attr)) {
        case IFLA_MTU:
            link.mtu = get_u32(attr);
            break;
        case IFLA_ADDRESS:
            get_mac(attr, link.mac);
            break;
        case IFLA_MASTER:
            link.master = static_cast<int>(get_u32(attr));
            break;
        case IFLA_LINK:
            lower = static_cast<int>(get_u32(attr));
            break;
        case IFLA_LINK_NETNSID: // IFLA_LINK is then an ifindex of that namespace
            elsewhere = true;
            break;
        case IFLA_IFNAME:
            link.name = get_text(attr);
            break;
        case IFLA_PROP_LIST:
            for_each_nested(attr, [&](const nlattr *property) {
                if (mnl_attr_get_type(property) == IFLA_ALT_IFNAME) {
                    link.altnames.push_back(get_text(property));
                }
            });
            break;
        case IFLA_PROMISCUITY:
            link.promiscuous = get_u32(attr) != 0;
            break;
        case IFLA_LINKINFO:
            kind = parse_linkinfo(attr, link);
            break;
        default:
            break;
        }
    });
    link.lower = link.vlan_protocol == 0 ? 0 : elsewhere ? link_message::lower_elsewhere : lower;
    link.takes_from = elsewhere || !takes_all(kind) ? 0 : lower;
    return link;
}

std::uint8_t address_family(const nlmsghdr &message)
{
    const auto *header = header_of<ifaddrmsg>(message);
    return header ? header->ifa_family : std::uint8_t{AF_UNSPEC};
}

std::optional<link6_message> parse_link6(const nlmsghdr &message)
{
    const auto *header = header_of<ifinfomsg>(message);
    if (!header || header->ifi_family != AF_INET6) {
        return {};
    }
    std::optional<link6_message> link;
    const auto take = [&](const nlattr *attr) {
        const auto *values = static_cast<const std::int32_t *>(mnl_attr_get_payload(attr));
        const std::size_t count = mnl_attr_get_payload_len(attr) / sizeof *values;
        if (mnl_attr_get_type(attr) == IFLA_INET6_CONF && count > DEVCONF_IGNORE_ROUTES_WITH_LINKDOWN) {
            link = {.ifindex = header->ifi_index,
                    .mtu = static_cast<std::uint32_t>(values[DEVCONF_MTU6]),
                    .disabled = values[DEVCONF_DISABLE_IPV6] != 0,
                    .ignore_linkdown = values[DEVCONF_IGNORE_ROUTES_WITH_LINKDOWN] != 0};
        }
    };
    for_each_attr(message, sizeof *header, [&](const nlattr *attr) {
        if (mnl_attr_get_type(attr) == IFLA_PROTINFO) {
            for_each_nested(attr, take);
        }
    });
    return link;
}

std::optional<neighbour_message> parse_neighbour(const nlmsghdr &message)
{
    const auto *header = header_of<ndmsg>(message);
    if (!header || !followed(header->ndm_family) || (header->ndm_flags & NTF_PROXY)) {
        return {};
    }
    neighbour_message neighbour;
    neighbour.ifindex = header->ndm_ifindex;
    bool mac = false;
    for_each_attr(message, sizeof *header, [&](const nlattr *attr) {
        if (mnl_attr_get_type(attr) == NDA_DST) {
            neighbour.addr = get_addr(header->ndm_family, attr);
        } else if (mnl_attr_get_type(attr) == NDA_LLADDR) {
            mac = get_mac(attr, neighbour.mac);
        }
    });
    if (neighbour.addr.family == AF_UNSPEC) {
        return {};
    }
    neighbour.valid = (header->ndm_state & nud_valid) && mac && rte_is_valid_assigned_ether_addr(&neighbour.mac);
    neighbour.stale = neighbour.valid && (header->ndm_state & NUD_STALE) != 0;
    neighbour.confirmed = neighbour.valid && (header->ndm_state & (NUD_REACHABLE | NUD_PERMANENT)) != 0;
    return neighbour;
}

std::optional<route_message> parse_route(const nlmsghdr &message)
{
    const auto *header = header_of<rtmsg>(message);
    if (!header || !followed(header->rtm_family) || header->rtm_dst_len > address_bits(header->rtm_family)) {
        return {};
    }
    route_message route;
    route.table = header->rtm_table;
    route.type = header->rtm_type;
    route.cached = (header->rtm_flags & RTM_F_CLONED) != 0;
    route.tos = header->rtm_tos;
    route.from = {{header->rtm_family, {}}, header->rtm_src_len};
    ip_addr dst{header->rtm_family, {}};
    route_hop single{.dead = (header->rtm_flags & RTNH_F_DEAD) != 0};
    for_each_attr(message, sizeof *header, [&](const nlattr *attr) {
        switch (mnl_attr_get_type(attr)) {
        case RTA_DST:
            dst = get_addr(header->rtm_family, attr);
            break;
        case RTA_SRC:
            route.from = make_prefix(get_addr(header->rtm_family, attr), header->rtm_src_len);
            break;
        case RTA_TABLE:
            route.table = get_u32(attr);
            break;
        case RTA_PRIORITY:
            route.metric = get_u32(attr);
            break;
        case RTA_OIF:
            single.oif = static_cast<int>(get_u32(attr));
            break;
        case RTA_METRICS:
            route.mtu = get_mtu(attr);
            break;
        case RTA_MULTIPATH:
            parse_multipath(attr, header->rtm_family, route);
            break;
        case RTA_NH_ID:
            route.nhid = get_u32(attr);
            break;
        default:
            parse_hop_attr(attr, header->rtm_family, single, route);
        }
    });
    if (dst.family == AF_UNSPEC) {
        return {};
    }
    route.dst = make_prefix(dst, header->rtm_dst_len);
    if (route.nhid != 0) { // nexthop_compat_mode: the message may repeat the object's contents, soon outdated
        route.hops.assign(1, {});
        route.opaque = false;
        route.type = route.type == RTN_BLACKHOLE ? std::uint8_t{RTN_UNICAST} : route.type;
    } else if (route.hops.empty()) {
        route.hops.push_back(single);
    }
    return route;
}

std::optional<nexthop_message> parse_nexthop(const nlmsghdr &message)
{
    const auto *header = header_of<nhmsg>(message);
    if (!header) {
        return {};
    }
    nexthop_message nexthop;
    for_each_attr(message, sizeof *header, [&](const nlattr *attr) {
        switch (mnl_attr_get_type(attr)) {
        case NHA_ID:
            nexthop.id = get_u32(attr);
            break;
        case NHA_GROUP:
            parse_group(attr, nexthop);
            break;
        case NHA_BLACKHOLE:
            nexthop.blackhole = true;
            break;
        case NHA_OIF:
            nexthop.hop.oif = static_cast<int>(get_u32(attr));
            break;
        case NHA_GATEWAY:
            nexthop.hop.gateway = get_addr(header->nh_family, attr);
            break;
        case NHA_ENCAP_TYPE:
        case NHA_FDB:
            nexthop.opaque = true;
            break;
        default:
            break;
        }
    });
    return nexthop.id == 0 ? std::nullopt : std::optional(nexthop);
}

} // namespace halfpoll
