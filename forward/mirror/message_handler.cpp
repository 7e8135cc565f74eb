// SPDX-License-Identifier: BSD-3-Clause
#include "message_handler.hpp"

#include <linux/rtnetlink.h>

namespace halfpoll
{

void message_handler::handle(const nlmsghdr &message)
{
    ++report_.stats.messages;
    switch (message.nlmsg_type) {
    case RTM_NEWLINK:
    case RTM_DELLINK:
        if (const auto link = parse_link(message)) {
            if (!is_newest(message, {}, link->ifindex)) {
                return;
            }
            message.nlmsg_type == RTM_NEWLINK ? links_.apply(*link) : links_.forget(link->ifindex);
            return;
        }
        if (const auto link6 = parse_link6(message)) {
            message.nlmsg_type == RTM_NEWLINK ? links_.apply(*link6) : links_.forget6(link6->ifindex);
            return;
        }
        break;
    case RTM_NEWNEIGH:
    case RTM_DELNEIGH:
        if (auto neighbour = parse_neighbour(message)) {
            if (is_newest(message, host_prefix(neighbour->addr), neighbour->ifindex)) {
                neighbour->valid &= message.nlmsg_type == RTM_NEWNEIGH;
                neighbours_.apply(*neighbour);
            }
            return;
        }
        break;
    case RTM_NEWROUTE:
    case RTM_DELROUTE:
        routes_.apply(message);
        return;
    case RTM_NEWNETCONF:
    case RTM_DELNETCONF:
        links_.apply_netconf(message);
        rules_.evaluate(); // they count for the reverse-path check, too
        return;
    case RTM_NEWNEXTHOP:
    case RTM_DELNEXTHOP:
        if (const auto object = parse_nexthop(message)) {
            if (!is_newest(message, {}, object->id)) {
                return;
            }
            message.nlmsg_type == RTM_NEWNEXTHOP ? objects_.apply(*object) : objects_.forget(object->id);
            return;
        }
        break;
    case RTM_NEWRULE:
    case RTM_DELRULE:
        if (const auto rule = parse_rule(message)) {
            socket_.is_reply(message) ? rules_.add(*rule) : rules_.apply(*rule, message.nlmsg_type == RTM_DELRULE);
            return;
        }
        break;
    case RTM_NEWADDR:
    case RTM_DELADDR:
        routes_.apply_address(message);
        return;
    default:
        break;
    }
    ++report_.stats.ignored;
}

void message_handler::begin_dump(const table_request &table)
{
    if (table.type == RTM_GETRULE) {
        rules_.begin_dump(table.family);
    }
}

void message_handler::end_dump(const table_request &table, rule_mirror::dump how)
{
    if (table.type == RTM_GETRULE) {
        rules_.end_dump(table.family, how); // before the first route is applied
    }
}

void message_handler::sweep(const table_request &table)
{
    switch (table.type) {
    case RTM_GETLINK:
        if (table.family == AF_UNSPEC) {
            links_.sweep();
        }
        break;
    case RTM_GETNEIGH:
        neighbours_.sweep(table.family);
        break;
    case RTM_GETNEXTHOP:
        objects_.sweep();
        break;
    case RTM_GETROUTE:
        routes_.sweep(table.family);
        break;
    default:
        break;
    }
}

} // namespace halfpoll
