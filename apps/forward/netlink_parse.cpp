// SPDX-License-Identifier: BSD-3-Clause
#include "netlink_parse.hpp"

#include <libmnl/libmnl.h>

#include <cstring>
#include <linux/if.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>

namespace halfpoll
{

namespace
{

constexpr unsigned nud_valid = NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE | NUD_PERMANENT | NUD_NOARP;

bool followed(std::uint8_t family) { return family == AF_INET || family == AF_INET6; }

/// The payload of a message of at least this size, else null.
template <typename T>
const T *header_of(const nlmsghdr &message)
{
    return mnl_nlmsg_get_payload_len(&message) < sizeof(T) ? nullptr
                                                           : static_cast<const T *>(mnl_nlmsg_get_payload(&message));
}

/// Calls fn(attribute) for each; libmnl's macros for that are not C++.
template <typename F>
void for_each_attr(const void *start, std::size_t size, F fn)
{
    int left = static_cast<int>(size);
    for (const auto *attr = static_cast<const nlattr *>(start); mnl_attr_ok(attr, left); attr = mnl_attr_next(attr)) {
        fn(attr);
        left -= static_cast<int>(MNL_ALIGN(attr->nla_len));
    }
}

/// The attributes behind a message's own header of `skip` bytes.
template <typename F>
void for_each_attr(const nlmsghdr &message, std::size_t skip, F fn)
{
    const void *start = mnl_nlmsg_get_payload_offset(&message, skip);
    const auto used =
        static_cast<std::size_t>(static_cast<const char *>(start) - reinterpret_cast<const char *>(&message));
    for_each_attr(start, message.nlmsg_len > used ? message.nlmsg_len - used : 0, fn);
}

std::uint32_t get_u32(const nlattr *attr)
{
    return mnl_attr_validate(attr, MNL_TYPE_U32) < 0 ? 0 : mnl_attr_get_u32(attr);
}

ip_addr get_addr(std::uint8_t family, const void *data, std::size_t size)
{
    ip_addr addr;
    if (followed(family) && size == address_bits(family) / 8) {
        addr.family = family;
        std::memcpy(addr.bytes.data(), data, size);
    }
    return addr;
}

ip_addr get_addr(std::uint8_t family, const nlattr *attr)
{
    return get_addr(family, mnl_attr_get_payload(attr), mnl_attr_get_payload_len(attr));
}

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

/// What may stand in a route as well as in each of its next hops.
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
    for_each_attr(message, sizeof *header, [&](const nlattr *attr) {
        if (mnl_attr_get_type(attr) == IFLA_MTU) {
            link.mtu = get_u32(attr);
        } else if (mnl_attr_get_type(attr) == IFLA_ADDRESS) {
            get_mac(attr, link.mac);
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
    route.special = header->rtm_tos != 0 || header->rtm_src_len != 0;
    ip_addr dst{header->rtm_family, {}};
    route_hop single;
    bool by_id = false;
    for_each_attr(message, sizeof *header, [&](const nlattr *attr) {
        switch (mnl_attr_get_type(attr)) {
        case RTA_DST:
            dst = get_addr(header->rtm_family, attr);
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
            by_id = true;
            break;
        default:
            parse_hop_attr(attr, header->rtm_family, single, route);
        }
    });
    if (dst.family == AF_UNSPEC) {
        return {};
    }
    route.dst = make_prefix(dst, header->rtm_dst_len);
    if (route.hops.empty()) {
        route.opaque |= by_id && single.oif == 0; // the kernel names the object only (nexthop_compat_mode is off)
        route.hops.push_back(single);
    }
    return route;
}

} // namespace halfpoll
