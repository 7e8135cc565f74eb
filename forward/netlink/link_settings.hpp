// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <linux/netlink.h>
#include <optional>
#include <string>

namespace halfpoll
{

/// Settings of an interface (net.ipv4.conf.IF, net.ipv6.conf.IF) that no notification tells: what an RTM_NEWLINK of a
/// dump of all families says of them. A setting that the kernel lacks is off.
struct link_settings {
    int ifindex = 0;
    std::string name;
    bool forwarding4 = false;
    bool rp_filter = false; ///< strict or loose
    bool route_localnet = false;
    bool accept_local = false;
    bool accept_redirects4 = false;
    bool forwarding6 = false;
    bool force_forwarding6 = false;
    bool accept_redirects6 = false;
};

/// No value: another message, or the loopback interface, by which nothing is forwarded.
std::optional<link_settings> parse_link_settings(const nlmsghdr &message);

} // namespace halfpoll
