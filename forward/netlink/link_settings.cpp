// SPDX-License-Identifier: BSD-3-Clause
#include "link_settings.hpp"

#include <libmnl/libmnl.h>

#include <cstddef>
#include <cstdint>
#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

namespace halfpoll
{

namespace
{

/// DEVCONF_FORCE_FORWARDING, by number: older kernel headers do not define it.
constexpr unsigned devconf_force_forwarding = 59;

/// An array of settings; the kernel's version decides its length.
class settings
{
public:
    explicit settings(const nlattr *attr)
        : values_(static_cast<const std::int32_t *>(mnl_attr_get_payload(attr))),
          count_(mnl_attr_get_payload_len(attr) / sizeof *values_)
    {
    }
    bool operator[](unsigned index) const { return index < count_ && values_[index] != 0; }

private:
    const std::int32_t *values_;
    std::size_t count_;
};

int take4(const nlattr *attr, void *to)
{
    link_settings &link = *static_cast<link_settings *>(to);
    if (mnl_attr_get_type(attr) == IFLA_INET_CONF) {
        const settings conf(attr); // begins with setting 1
        link.forwarding4 = conf[IPV4_DEVCONF_FORWARDING - 1];
        link.rp_filter = conf[IPV4_DEVCONF_RP_FILTER - 1];
        link.route_localnet = conf[IPV4_DEVCONF_ROUTE_LOCALNET - 1];
        link.accept_local = conf[IPV4_DEVCONF_ACCEPT_LOCAL - 1];
        link.accept_redirects4 = conf[IPV4_DEVCONF_ACCEPT_REDIRECTS - 1];
    }
    return MNL_CB_OK;
}

int take6(const nlattr *attr, void *to)
{
    link_settings &link = *static_cast<link_settings *>(to);
    if (mnl_attr_get_type(attr) == IFLA_INET6_CONF) {
        const settings conf(attr);
        link.forwarding6 = conf[DEVCONF_FORWARDING];
        link.force_forwarding6 = conf[devconf_force_forwarding];
        link.accept_redirects6 = conf[DEVCONF_ACCEPT_REDIRECTS];
    }
    return MNL_CB_OK;
}

int take_family(const nlattr *attr, void *to)
{
    const auto take = mnl_attr_get_type(attr) == AF_INET    ? take4
                      : mnl_attr_get_type(attr) == AF_INET6 ? take6
                                                            : nullptr;
    return take == nullptr ? MNL_CB_OK : mnl_attr_parse_nested(attr, take, to);
}

int take(const nlattr *attr, void *to)
{
    if (mnl_attr_get_type(attr) == IFLA_IFNAME && mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) >= 0) {
        static_cast<link_settings *>(to)->name = mnl_attr_get_str(attr);
    }
    return mnl_attr_get_type(attr) == IFLA_AF_SPEC ? mnl_attr_parse_nested(attr, take_family, to) : MNL_CB_OK;
}

} // namespace

std::optional<link_settings> parse_link_settings(const nlmsghdr &message)
{
    if (message.nlmsg_type != RTM_NEWLINK || mnl_nlmsg_get_payload_len(&message) < sizeof(ifinfomsg)) {
        return {};
    }
    const auto *header = static_cast<const ifinfomsg *>(mnl_nlmsg_get_payload(&message));
    if (header->ifi_family != AF_UNSPEC || (header->ifi_flags & IFF_LOOPBACK) != 0) {
        return {};
    }
    link_settings link;
    link.ifindex = header->ifi_index;
    mnl_attr_parse(&message, sizeof *header, take, &link);
    return link;
}

} // namespace halfpoll
