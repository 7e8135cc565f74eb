// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "consequences.hpp"
#include "fixed_entries.hpp"
#include "forward/netlink/netlink.hpp"
#include "load_state.hpp"
#include "mirror_report.hpp"
#include "mirror_routes.hpp"

#include <cstdint>

namespace halfpoll
{

/// Follows routes of the main and the local table.
class route_mirror
{
public:
    route_mirror(route_table &routes, load_state &loads, const netlink_socket &socket, const fixed_entries &fixed,
                 consequences &c, mirror_report &report)
        : routes_(routes), loads_(loads), socket_(socket), fixed_(fixed), consequences_(c), report_(report)
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

    route_table &routes_;
    load_state &loads_;
    const netlink_socket &socket_;
    const fixed_entries &fixed_;
    consequences &consequences_;
    mirror_report &report_;
};

} // namespace halfpoll
