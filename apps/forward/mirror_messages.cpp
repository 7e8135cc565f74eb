// SPDX-License-Identifier: BSD-3-Clause
#include "mirror_impl.hpp"

#include <linux/rtnetlink.h>

namespace halfpoll
{

namespace
{

bool same_mac(const rte_ether_addr &a, const rte_ether_addr &b) { return rte_is_same_ether_addr(&a, &b) != 0; }

route_table::source source_of(const nlmsghdr &message, bool dump)
{
    return dump                                  ? route_table::source::dump
           : message.nlmsg_flags & NLM_F_REPLACE ? route_table::source::replace
           : message.nlmsg_flags & NLM_F_APPEND  ? route_table::source::append
                                                 : route_table::source::prepend;
}

} // namespace

void mirror::impl::handle(const nlmsghdr &message)
{
    ++stats.messages;
    switch (message.nlmsg_type) {
    case RTM_NEWLINK:
    case RTM_DELLINK:
        if (const auto link = parse_link(message)) {
            message.nlmsg_type == RTM_NEWLINK ? apply_link(*link) : forget_link(link->ifindex);
            return;
        }
        break;
    case RTM_NEWNEIGH:
    case RTM_DELNEIGH:
        if (auto neighbour = parse_neighbour(message)) {
            neighbour->valid &= message.nlmsg_type == RTM_NEWNEIGH;
            apply_neighbour(*neighbour);
            return;
        }
        break;
    case RTM_NEWROUTE:
    case RTM_DELROUTE:
        apply_route(message);
        return;
    case RTM_DELADDR: // takes routes with that source address along, silently
        stale_ipv4_routes = true;
        return;
    case RTM_DELNEXTHOP:
    case RTM_NEWNEXTHOP:
        stale_ipv4_routes |= message.nlmsg_type == RTM_DELNEXTHOP || (message.nlmsg_flags & NLM_F_REPLACE);
        return;
    default:
        break;
    }
    ++stats.ignored;
}

void mirror::impl::apply_link(const link_message &message)
{
    known_link &link = links[message.ifindex];
    const known_link before = link;
    const shadow *s = slow.of_kernel_ifindex(message.ifindex);
    link = {
        .up = message.up, .is_shadow = s != nullptr, .mtu = message.mtu, .mac = message.mac, .generation = generation};
    if (link.up == before.up && link.is_shadow == before.is_shadow && link.mtu == before.mtu &&
        same_mac(link.mac, before.mac)) {
        return;
    }
    stale_ipv4_routes |= before.up && !link.up; // the kernel removes its routes without notification
    link_changed(message.ifindex);
    if (s) {
        adopt_link(*s->dev, before, link); // last: it may call device_changed()
    }
}

void mirror::impl::forget_link(int ifindex)
{
    if (links.erase(ifindex) > 0) {
        stale_ipv4_routes = true;
        link_changed(ifindex);
    }
}

void mirror::impl::apply_neighbour(const neighbour_message &message)
{
    const std::pair key(message.addr, message.ifindex);
    if (!message.valid) {
        forget_neighbour(key);
        return;
    }
    const auto [known, added] = neighbours.try_emplace(key);
    known->second.generation = generation;
    if (added || !same_mac(known->second.mac, message.mac)) {
        known->second.mac = message.mac;
        neighbour_changed(message.addr, message.ifindex);
    }
}

void mirror::impl::forget_neighbour(const std::pair<ip_addr, int> &key)
{
    const auto [addr, ifindex] = key; // the key may live in the element that goes
    if (neighbours.erase(key) > 0) {
        neighbour_changed(addr, ifindex);
    }
}

void mirror::impl::apply_route(const nlmsghdr &message)
{
    const auto route = parse_route(message);
    if (!route || route->cached || route->special ||
        (route->table != RT_TABLE_MAIN && route->table != RT_TABLE_LOCAL) || never_forwarded(route->dst)) {
        ++stats.ignored;
        return;
    }
    stats.ignored += route->opaque ? 1 : 0; // its prefix is punted
    const bool changed = message.nlmsg_type == RTM_NEWROUTE
                             ? routes.add(*route, source_of(message, socket.is_dump_reply(message)))
                             : routes.remove(*route);
    if (changed) {
        route_changed(route->dst, route->table == RT_TABLE_LOCAL);
    }
}

} // namespace halfpoll
