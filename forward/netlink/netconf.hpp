// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "forward/tables/interface_table.hpp"

#include <cstdint>
#include <linux/netlink.h>
#include <map>

namespace halfpoll
{

/// What sysctl says of interfaces (net.ipv4.conf, net.ipv6.conf), as far as forwarding depends on it. Control thread.
class netconf_table
{
public:
    /// RTM_NEWNETCONF, RTM_DELNETCONF (RTNLGRP_IPV4_NETCONF, RTNLGRP_IPV6_NETCONF; a dump for each family). The
    /// interface concerned, `every` if all are, `none` if nothing changed.
    int apply(const nlmsghdr &message);
    static constexpr int none = 0, every = -1;
    /// An interface's own ignore_routes_with_linkdown of IPv6, read from its link6_message: some kernels (6.1) change
    /// it without an RTM_NEWNETCONF. Whether it changed.
    bool set_ignores_routes_with_linkdown6(int ifindex, bool ignores);

    /// The larger of the interface's own and that of `all`.
    rp_filter_mode rp_filter(int ifindex) const;
    bool forwarding4(int ifindex) const;
    /// IPv6 has one switch for all interfaces; an interface's own says something else, but for force_forwarding.
    bool forwarding6(int ifindex) const;
    /// Routes of a family over the interface do not count while it has no carrier. IPv4: its own or that of `all`.
    bool ignores_routes_with_linkdown(std::uint8_t family, int ifindex) const;

private:
    struct settings {
        int rp_filter = 0;
        int forwarding = 1; ///< until the kernel says otherwise
        int force_forwarding = 0;
        int ignore_linkdown = 0;
        bool operator==(const settings &) const = default;
    };
    using family = std::map<int, settings>;
    static settings of(const family &conf, int ifindex);

    family ip4_, ip6_; ///< by ifindex; -1: `all`
};

} // namespace halfpoll
