// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>
#include <linux/netlink.h>
#include <string>

namespace halfpoll
{

/// Contents of RTM_NEWQDISC and RTM_DELQDISC.
struct qdisc_message {
    int ifindex = 0;
    std::uint32_t handle = 0;
    std::uint32_t parent = 0;
    std::string kind;
    bool ingress_block = false; ///< its filters are in a block that it shares with other interfaces
    bool egress_block = false;
    bool acts = false; ///< its options make it do more than the kind does by default

    /// `ingress` or `clsact`: it does nothing but hold filters.
    bool holds_filters() const { return kind == "ingress" || kind == "clsact"; }
    /// True if filters may be attached to a queueing discipline that is_neutral().
    bool takes_filters() const { return kind == "fq_codel"; }
    /// True if it does no more to packets than queue them while the interface is slower than they come, as the port's
    /// own queue does for the fast path. The disciplines that the kernel attaches by itself are among these.
    bool is_neutral() const;
};

/// Throws `error` if the message is too short.
qdisc_message parse_qdisc(const nlmsghdr &message);

} // namespace halfpoll
