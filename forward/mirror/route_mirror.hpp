// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "consequences.hpp"
#include "fixed_entries.hpp"
#include "forward/netlink/netlink.hpp"
#include "load_state.hpp"
#include "mirror_report.hpp"
#include "mirror_routes.hpp"
#include "rule_mirror.hpp"

#include <cstdint>
#include <map>

namespace halfpoll
{

/// Follows routes of the main and the local table, and whether the table `default` has any.
class route_mirror
{
public:
    route_mirror(kernel_state &state, route_table &routes, load_state &loads, const netlink_socket &socket,
                 const fixed_entries &fixed, rule_mirror &rules, consequences &c, mirror_report &report)
        : state_(state), routes_(routes), loads_(loads), socket_(socket), fixed_(fixed), rules_(rules),
          consequences_(c), report_(report)
    {
    }

    /// RTM_NEWROUTE, RTM_DELROUTE.
    void apply(const nlmsghdr &message);
    /// RTM_NEWADDR, RTM_DELADDR.
    void apply_address(const nlmsghdr &message);
    /// Forgets the routes of a family that the present dump did not show.
    void sweep(std::uint8_t family);

private:
    void note_dead(const route_message &route);
    void note_default_table(std::uint8_t family, bool gone);

    kernel_state &state_;
    route_table &routes_;
    load_state &loads_;
    const netlink_socket &socket_;
    const fixed_entries &fixed_;
    rule_mirror &rules_;
    consequences &consequences_;
    mirror_report &report_;
    std::map<std::uint8_t, std::uint32_t> default_seen_; ///< by family: load_state::generation
};

} // namespace halfpoll
