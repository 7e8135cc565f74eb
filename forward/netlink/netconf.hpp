// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "forward/tables/interface_table.hpp"

#include <cstdint>
#include <linux/netlink.h>
#include <map>

namespace halfpoll
{

/// The sysctl settings of interfaces (net.ipv4.conf, net.ipv6.conf) that affect forwarding. Control thread.
class netconf_table
{
public:
    /// Applies RTM_NEWNETCONF or RTM_DELNETCONF (RTNLGRP_IPV4_NETCONF, RTNLGRP_IPV6_NETCONF; one dump per family).
    /// Returns the ifindex of the interface that changed, `every` if all changed, `none` if nothing did.
    int apply(const nlmsghdr &message);
    static constexpr int none = 0, every = -1;
    /// Sets an interface's own IPv6 ignore_routes_with_linkdown, which its link6_message carries: some kernels (6.1)
    /// change it without an RTM_NEWNETCONF. Returns true if it changed.
    bool set_ignores_routes_with_linkdown6(int ifindex, bool ignores);

    /// The larger value of the interface's own setting and that of `all`.
    rp_filter_mode rp_filter(int ifindex) const;
    /// True if any interface has a reverse-path check.
    bool checks_reverse_path() const;
    bool forwarding4(int ifindex) const;
    /// IPv6 forwarding has one switch for all interfaces, `all`. An interface's own `forwarding` does not switch it;
    /// force_forwarding of the interface does.
    bool forwarding6(int ifindex) const;
    /// True if routes of the family over the interface do not count while it has no carrier. IPv4: set for the
    /// interface or for `all`. IPv6: set for the interface.
    bool ignores_routes_with_linkdown(std::uint8_t family, int ifindex) const;

private:
    struct settings {
        int rp_filter = 0;
        int forwarding = 1; ///< the value until the kernel reports another
        int force_forwarding = 0;
        int ignore_linkdown = 0;
        bool operator==(const settings &) const = default;
    };
    using family = std::map<int, settings>;
    static settings of(const family &conf, int ifindex);

    family ip4_, ip6_; ///< by ifindex; NETCONFA_IFINDEX_ALL (-1): `all`
};

} // namespace halfpoll
