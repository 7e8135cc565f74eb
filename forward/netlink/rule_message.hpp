// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>
#include <linux/netlink.h>
#include <optional>
#include <string>

namespace halfpoll
{

/// Contents of RTM_NEWRULE, RTM_DELRULE: as much as it takes to say what the rule does to a forwarded packet.
struct rule_message {
    std::uint8_t family = 0;
    std::uint8_t action = 0; ///< FR_ACT_*
    std::uint32_t priority = 0;
    std::uint32_t table = 0;       ///< of FR_ACT_TO_TBL
    std::uint32_t goto_target = 0; ///< of FR_ACT_GOTO: priority of the rule to go on with

    // The selectors, all of which a packet has to meet.
    std::string iif; ///< name of the interface that it comes in by; empty: any
    /// One that no forwarded packet meets: when a packet is routed, nothing is known of an interface that it leaves by
    /// (oif), of a tunnel (tun_id: the interfaces are no tunnels), of a user other than root (uidrange), and the
    /// interfaces of VRFs (l3mdev) are not forwarded at all.
    bool about_others = false;
    bool selective = false; ///< one that some forwarded packets may meet: addresses, mark, ports and the like
    bool inverted = false;  ///< `not`: concerns the packets that do not meet them

    bool suppresses = false; ///< does not take every route of the table (suppress_prefixlength, suppress_ifgroup)
    bool unknown = false;    ///< has contents that are not known here
    std::string text;        ///< as `ip rule` shows it, after the priority
    bool operator==(const rule_message &) const = default;
};

/// Returns no value if the message is malformed or of a family that is not mirrored.
std::optional<rule_message> parse_rule(const nlmsghdr &message);

} // namespace halfpoll
