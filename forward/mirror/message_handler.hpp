// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "forward/netlink/netlink.hpp"
#include "link_mirror.hpp"
#include "load_state.hpp"
#include "mirror_report.hpp"
#include "neighbour_mirror.hpp"
#include "object_mirror.hpp"
#include "route_mirror.hpp"
#include "rule_mirror.hpp"

namespace halfpoll
{

/// Parses messages, notifications and dump entries alike, and passes them to the mirror of their kind.
class message_handler
{
public:
    message_handler(const netlink_socket &socket, load_state &loads, link_mirror &links, neighbour_mirror &neighbours,
                    object_mirror &objects, rule_mirror &rules, route_mirror &routes, mirror_report &report)
        : socket_(socket), loads_(loads), links_(links), neighbours_(neighbours), objects_(objects), rules_(rules),
          routes_(routes), report_(report)
    {
    }

    void handle(const nlmsghdr &message);
    /// Called before each request of a table.
    void begin_dump(const table_request &table);
    /// Called at the end of the reply to a request, also if it failed.
    void end_dump(const table_request &table, rule_mirror::dump how);
    /// Forgets the entries that the present dump did not show.
    void sweep(const table_request &table);

private:
    bool is_newest(const nlmsghdr &message, const ip_prefix &prefix, std::int64_t number)
    {
        return loads_.is_newest(socket_, message, prefix, number);
    }

    const netlink_socket &socket_;
    load_state &loads_;
    link_mirror &links_;
    neighbour_mirror &neighbours_;
    object_mirror &objects_;
    rule_mirror &rules_;
    route_mirror &routes_;
    mirror_report &report_;
};

} // namespace halfpoll
