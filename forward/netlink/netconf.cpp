// SPDX-License-Identifier: BSD-3-Clause
#include "netconf.hpp"

#include <libmnl/libmnl.h>

#include <algorithm>
#include <linux/netconf.h>
#include <linux/rtnetlink.h>
#include <optional>
#include <sys/socket.h>
#include <utility>

namespace halfpoll
{

namespace
{

/// NETCONFA_FORCE_FORWARDING, by number: older kernel headers do not define it.
constexpr unsigned netconfa_force_forwarding = 9;

struct parsed {
    std::optional<int> ifindex, rp_filter, forwarding, force_forwarding, ignore_linkdown;
};

int collect(const nlattr *attr, void *to)
{
    auto &out = *static_cast<parsed *>(to);
    if (mnl_attr_validate(attr, MNL_TYPE_U32) < 0) {
        return MNL_CB_OK;
    }
    const int value = static_cast<int>(mnl_attr_get_u32(attr));
    switch (mnl_attr_get_type(attr)) {
    case NETCONFA_IFINDEX:
        out.ifindex = value;
        break;
    case NETCONFA_RP_FILTER:
        out.rp_filter = value;
        break;
    case NETCONFA_FORWARDING:
        out.forwarding = value;
        break;
    case NETCONFA_IGNORE_ROUTES_WITH_LINKDOWN:
        out.ignore_linkdown = value;
        break;
    case netconfa_force_forwarding:
        out.force_forwarding = value;
        break;
    default:
        break;
    }
    return MNL_CB_OK;
}

} // namespace

int netconf_table::apply(const nlmsghdr &message)
{
    if (mnl_nlmsg_get_payload_len(&message) < sizeof(netconfmsg)) {
        return none;
    }
    const auto *header = static_cast<const netconfmsg *>(mnl_nlmsg_get_payload(&message));
    if (header->ncm_family != AF_INET && header->ncm_family != AF_INET6) {
        return none;
    }
    parsed p;
    mnl_attr_parse(&message, sizeof *header, collect, &p);
    if (!p.ifindex || *p.ifindex == NETCONFA_IFINDEX_DEFAULT) {
        return none;
    }
    family &conf = header->ncm_family == AF_INET ? ip4_ : ip6_;
    if (message.nlmsg_type == RTM_DELNETCONF) {
        conf.erase(*p.ifindex);
        return none; // the kernel is removing the interface
    }
    auto &known = conf[*p.ifindex];
    const auto before = known;
    known.rp_filter = p.rp_filter.value_or(known.rp_filter);
    known.forwarding = p.forwarding.value_or(known.forwarding);
    known.force_forwarding = p.force_forwarding.value_or(known.force_forwarding);
    known.ignore_linkdown = p.ignore_linkdown.value_or(known.ignore_linkdown);
    return known == before ? none : *p.ifindex == NETCONFA_IFINDEX_ALL ? every : *p.ifindex;
}

bool netconf_table::set_ignores_routes_with_linkdown6(int ifindex, bool ignores)
{
    const int now = ignores ? 1 : 0;
    return std::exchange(ip6_[ifindex].ignore_linkdown, now) != now;
}

netconf_table::settings netconf_table::of(const family &conf, int ifindex)
{
    const auto found = conf.find(ifindex);
    return found == conf.end() ? netconf_table::settings{} : found->second;
}

rp_filter_mode netconf_table::rp_filter(int ifindex) const
{
    switch (std::max(of(ip4_, ifindex).rp_filter, of(ip4_, NETCONFA_IFINDEX_ALL).rp_filter)) {
    case 0:
        return rp_filter_mode::off;
    case 1:
        return rp_filter_mode::strict;
    default:
        return rp_filter_mode::loose;
    }
}

bool netconf_table::checks_reverse_path() const
{
    return std::ranges::any_of(ip4_, [](const auto &entry) { return entry.second.rp_filter != 0; });
}

bool netconf_table::forwarding4(int ifindex) const { return of(ip4_, ifindex).forwarding != 0; }

bool netconf_table::forwarding6(int ifindex) const
{
    return of(ip6_, NETCONFA_IFINDEX_ALL).forwarding != 0 || of(ip6_, ifindex).force_forwarding != 0;
}

bool netconf_table::ignores_routes_with_linkdown(std::uint8_t address_family, int ifindex) const
{
    return address_family == AF_INET
               ? of(ip4_, ifindex).ignore_linkdown != 0 || of(ip4_, NETCONFA_IFINDEX_ALL).ignore_linkdown != 0
               : of(ip6_, ifindex).ignore_linkdown != 0;
}

} // namespace halfpoll
