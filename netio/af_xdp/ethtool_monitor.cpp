// SPDX-License-Identifier: BSD-3-Clause
#include "ethtool_monitor.hpp"

#include <libmnl/libmnl.h>
#include <linux/ethtool_netlink.h>
#include <linux/genetlink.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>

namespace halfpoll
{

namespace
{

/// Name and number of one multicast group of a family.
struct group {
    const char *name = "";
    std::uint32_t id = 0;
};

int parse_group(const nlattr *attr, void *data)
{
    auto *g = static_cast<group *>(data);
    if (mnl_attr_get_type(attr) == CTRL_ATTR_MCAST_GRP_NAME && mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) >= 0) {
        g->name = mnl_attr_get_str(attr);
    } else if (mnl_attr_get_type(attr) == CTRL_ATTR_MCAST_GRP_ID && mnl_attr_validate(attr, MNL_TYPE_U32) >= 0) {
        g->id = mnl_attr_get_u32(attr);
    }
    return MNL_CB_OK;
}

int find_monitor(const nlattr *attr, void *id)
{
    group g;
    mnl_attr_parse_nested(attr, parse_group, &g);
    if (std::strcmp(g.name, ETHTOOL_MCGRP_MONITOR_NAME) == 0) {
        *static_cast<std::uint32_t *>(id) = g.id;
    }
    return MNL_CB_OK;
}

int find_groups(const nlattr *attr, void *id)
{
    const bool groups = mnl_attr_get_type(attr) == CTRL_ATTR_MCAST_GROUPS;
    return groups ? mnl_attr_parse_nested(attr, find_monitor, id) : MNL_CB_OK;
}

/// Number of the group that gets the notifications; 0: there is none.
std::uint32_t monitor_group(int fd) noexcept
{
    alignas(nlmsghdr) char buffer[8192];
    nlmsghdr *request = mnl_nlmsg_put_header(buffer);
    request->nlmsg_type = GENL_ID_CTRL;
    request->nlmsg_flags = NLM_F_REQUEST;
    auto *genl = static_cast<genlmsghdr *>(mnl_nlmsg_put_extra_header(request, sizeof(genlmsghdr)));
    genl->cmd = CTRL_CMD_GETFAMILY;
    genl->version = 1;
    mnl_attr_put_strz(request, CTRL_ATTR_FAMILY_NAME, ETHTOOL_GENL_NAME);
    ssize_t n = send(fd, request, request->nlmsg_len, 0);
    n = n < 0 ? n : recv(fd, buffer, sizeof buffer, 0); // the kernel answers within send()
    const auto *reply = reinterpret_cast<const nlmsghdr *>(buffer);
    std::uint32_t id = 0;
    if (n > 0 && mnl_nlmsg_ok(reply, static_cast<int>(n)) && reply->nlmsg_type == GENL_ID_CTRL) {
        mnl_attr_parse(reply, sizeof(genlmsghdr), find_groups, &id);
    }
    return id;
}

} // namespace

int open_ethtool_monitor() noexcept
{
    const int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_GENERIC);
    if (fd < 0) {
        return -1;
    }
    const std::uint32_t id = monitor_group(fd);
    if (id == 0 || setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &id, sizeof id) < 0) {
        ::close(fd);
        return -1;
    }
    return fd;
}

} // namespace halfpoll
