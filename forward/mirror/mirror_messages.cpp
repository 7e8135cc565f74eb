// SPDX-License-Identifier: BSD-3-Clause
#include "mirror_impl.hpp"

#include <algorithm>
#include <linux/rtnetlink.h>
#include <span>
#include <utility>

namespace halfpoll
{

namespace
{

bool same_mac(const rte_ether_addr &a, const rte_ether_addr &b) { return rte_is_same_ether_addr(&a, &b) != 0; }

bool same_link(const link_message &a, const link_message &b)
{
    return a.up == b.up && a.mtu == b.mtu && same_mac(a.mac, b.mac) && a.master == b.master && a.lower == b.lower &&
           a.vlan_id == b.vlan_id && a.vlan_protocol == b.vlan_protocol;
}

bool known_table(std::uint32_t table)
{
    return table == RT_TABLE_LOCAL || table == RT_TABLE_MAIN || table == RT_TABLE_DEFAULT;
}

/// True if the rules of a family may lead packets to other tables than local, main and default. A kernel without rules
/// behaves as if it had the default ones.
bool lead_elsewhere(const std::vector<rule_message> &rules, std::uint8_t family)
{
    bool any = false, local = false, main = false, elsewhere = false;
    for (const rule_message &r : rules) {
        if (r.family == family) {
            any = true;
            local |= r.plain && r.table == RT_TABLE_LOCAL;
            main |= r.plain && r.table == RT_TABLE_MAIN;
            elsewhere |= !r.neutral && !(r.plain && known_table(r.table));
        }
    }
    return any && (elsewhere || !local || !main);
}

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
            if (!is_newest(message, {}, link->ifindex)) {
                return;
            }
            message.nlmsg_type == RTM_NEWLINK ? apply_link(*link) : forget_link(link->ifindex);
            return;
        }
        if (const auto link6 = parse_link6(message)) {
            message.nlmsg_type == RTM_NEWLINK ? apply_link6(*link6) : void(links6.erase(link6->ifindex));
            return;
        }
        break;
    case RTM_NEWNEIGH:
    case RTM_DELNEIGH:
        if (auto neighbour = parse_neighbour(message)) {
            if (is_newest(message, host_prefix(neighbour->addr), neighbour->ifindex)) {
                neighbour->valid &= message.nlmsg_type == RTM_NEWNEIGH;
                apply_neighbour(*neighbour);
            }
            return;
        }
        break;
    case RTM_NEWROUTE:
    case RTM_DELROUTE:
        apply_route(message);
        return;
    case RTM_NEWNETCONF:
    case RTM_DELNETCONF:
        apply_netconf(message);
        return;
    case RTM_NEWNEXTHOP:
    case RTM_DELNEXTHOP:
        if (const auto object = parse_nexthop(message)) {
            if (!is_newest(message, {}, object->id)) {
                return;
            }
            message.nlmsg_type == RTM_NEWNEXTHOP ? apply_object(*object) : forget_object(object->id);
            return;
        }
        break;
    case RTM_NEWRULE:
    case RTM_DELRULE:
        if (const auto rule = parse_rule(message)) {
            socket.is_reply(message) ? rules.push_back(*rule) : void(stale.rules = true);
            return;
        }
        break;
    case RTM_NEWADDR:
    case RTM_DELADDR:
        apply_address(message);
        return;
    default:
        break;
    }
    ++stats.ignored;
}

/// Called when a shadow's interface may have been renamed, or moved to another namespace or back.
void mirror::impl::look_at(shadow &s)
{
    try {
        slow.look_at(s);
    } catch (const error &e) {
        complain(e.what());
    }
}

/// The shadow that the link belongs to, or null. The name of a shadow's interface is read through the shadow's fd, not
/// taken from the message.
shadow *mirror::impl::shadow_of(const link_message &message)
{
    if (shadow *s = slow.of_kernel_ifindex(message.ifindex)) {
        if (s->name != message.name) {
            look_at(*s);
        }
    } else {
        for (shadow *moved : slow.shadows()) {
            if (moved->moved) {
                look_at(*moved);
            }
        }
    }
    return slow.of_kernel_ifindex(message.ifindex);
}

void mirror::impl::apply_link(const link_message &message)
{
    known_link &link = links[message.ifindex];
    const known_link before = link;
    const shadow *s = shadow_of(message);
    link = {.what = message, .is_shadow = s != nullptr, .generation = generation};
    mark_stale(before.what, message);
    const auto stranded = [](const auto &entry) { return entry.second.what.lower == link_message::lower_elsewhere; };
    stale.links |= before.what.ifindex == 0 && std::ranges::any_of(links, stranded); // the device below may be back
    carrier_changed(message.ifindex);
    if (message.mtu != before.what.mtu || (message.up && !before.what.up)) {
        links6[message.ifindex].mtu = 0; // the kernel then sets it to the link's MTU
    }
    if (same_link(link.what, before.what) && link.is_shadow == before.is_shadow) {
        return;
    }
    link_changed(message.ifindex);
    if (s) {
        adopt_link(*s->dev, before.what, message); // comes last: it may call device_changed()
    }
}

/// When a link goes down, the kernel removes its routes (of IPv6 with a message, unless
/// net.ipv6.route.skip_notify_on_dev_down is set). When it goes down or loses its carrier, the kernel removes its `ip
/// nexthop` objects, without a message. When link or carrier come back, it revives next hops, without a message. It
/// does all this after it has sent the message about the link, so that a dump under way may still show the state
/// before.
void mirror::impl::mark_stale(const link_message &before, const link_message &now)
{
    const bool down = before.up && !now.up;
    const bool lost = (before.carrier && !now.carrier) || (before.running && !now.running);
    const bool revived = before.ifindex != 0 && ((!before.up && now.up) || (!before.carrier && now.carrier));
    stale.routes4 |= down || (revived && (dead_hops4 || loading()));
    stale.routes6 |= down || (revived && (dead_hops6 || loading()));
    stale.objects |= (!objects.empty() || loading()) && (down || lost);
}

void mirror::impl::forget_link(int ifindex)
{
    if (shadow *s = slow.of_kernel_ifindex(ifindex)) {
        look_at(*s);
    }
    if (links.erase(ifindex) == 0) {
        return;
    }
    carrier_changed(ifindex);
    links6.erase(ifindex);
    stale.routes4 = stale.routes6 = true;
    stale.objects |= !objects.empty() || loading();
    std::vector<int> uppers; // VLANs on a link that moved to another namespace, where the kernel still uses it
    for (auto &[upper, link] : links) {
        if (link.what.lower == ifindex) {
            link.what.lower = link_message::lower_elsewhere;
            uppers.push_back(upper);
        }
    }
    link_changed(ifindex);
    std::ranges::for_each(uppers, [this](int upper) { link_changed(upper); });
}

/// With an address, the kernel removes the routes that have it as source and, if it was the last of its interface, all
/// routes over that interface. With an interface's first IPv4 address, it revives next hops, as in mark_stale(). It
/// sends no message about either.
void mirror::impl::apply_address(const nlmsghdr &message)
{
    const bool gone = message.nlmsg_type == RTM_DELADDR;
    const std::uint8_t family = address_family(message);
    stale.routes4 |= family == AF_INET && (gone || dead_hops4 || loading());
    stale.routes6 |= family == AF_INET6 && (gone || dead_hops6);
}

void mirror::impl::apply_link6(const link6_message &message)
{
    link6_message &link = links6[message.ifindex];
    const link6_message before = std::exchange(link, message);
    if (before.disabled != message.disabled) {
        publish_ingress(message.ifindex);
    }
    if (before.mtu != message.mtu) {
        nexthops.refresh(message.ifindex, nullptr);
    }
    if (netconf.set_ignores_routes_with_linkdown6(message.ifindex, message.ignore_linkdown)) {
        carrier_changed(message.ifindex);
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
    known->second.stale = message.stale;
    const bool changed = added || !same_mac(known->second.mac, message.mac);
    if (changed) {
        know_neighbour(message.addr, known->second, false);
        known->second.mac = message.mac;
    }
    if (message.confirmed) {
        know_neighbour(message.addr, known->second, true);
    }
    if (changed) {
        neighbour_changed(message.addr, message.ifindex);
    }
}

/// Adds or removes a neighbour's addresses as known sources, so that the slow path passes its packets to the kernel
/// however many source addresses a flooder invents.
void mirror::impl::know_neighbour(const ip_addr &addr, known_neighbour &neighbour, bool known)
{
    if (std::exchange(neighbour.confirmed, known) == known) {
        return;
    }
    const std::span<const std::uint8_t> host(addr.bytes.data(), address_bits(addr.family) / 8);
    const std::span<const std::uint8_t> link(neighbour.mac.addr_bytes);
    for (const auto address : {host, link}) {
        known ? slow.add_known(address) : slow.remove_known(address);
    }
}

void mirror::impl::forget_neighbour(const std::pair<ip_addr, int> &key)
{
    const auto [addr, ifindex] = key; // copied: `key` may refer to the element that is erased
    const auto found = neighbours.find(key);
    if (found != neighbours.end()) {
        know_neighbour(addr, found->second, false);
        neighbours.erase(found);
        neighbour_changed(addr, ifindex);
    }
}

void mirror::impl::apply_object(const nexthop_message &message)
{
    known_object &object = objects[message.id];
    object.generation = generation;
    if (object.what != message) {
        const nexthop_message before = std::exchange(object.what, message);
        object_changed(before, message);
    }
}

void mirror::impl::note_dead(const route_message &route)
{
    const bool dead = std::ranges::any_of(route.hops, &route_hop::dead);
    (route.dst.addr.family == AF_INET ? dead_hops4 : dead_hops6) |= dead;
}

/// Forgets an object. The kernel removes the routes that use it, too, and does not always send a message for them
/// (nexthop_compat_mode).
void mirror::impl::forget_object(std::uint32_t id)
{
    const auto found = objects.find(id);
    if (found != objects.end()) {
        const nexthop_message before = std::move(found->second.what);
        objects.erase(found);
        object_changed(before, {});
        stale.routes4 = stale.routes6 = true;
    }
}

/// A family is forwarded only if its rules lead every packet to the local table, then to the main table. Otherwise the
/// kernel decides.
void mirror::impl::judge_rules()
{
    const auto judge = [this](std::uint8_t family, bool &state, const std::string &name) {
        if (const bool before = std::exchange(state, lead_elsewhere(rules, family)); before != state) {
            nexthops.refresh(family);
            warn(name + (state
                             ? ": there are rules (ip rule) that lead to other tables than local and main: the kernel "
                               "alone forwards, until they are removed"
                             : ": no rules to other tables are left, forwarding again"));
        }
    };
    judge(AF_INET, stats.policy_routing4, "IPv4");
    judge(AF_INET6, stats.policy_routing6, "IPv6");
}

void mirror::impl::apply_route(const nlmsghdr &message)
{
    const auto route = parse_route(message);
    if (!route || route->cached || route->special ||
        (route->table != RT_TABLE_MAIN && route->table != RT_TABLE_LOCAL) || never_forwarded(route->dst)) {
        ++stats.ignored;
        return;
    }
    if (!is_newest(message, route->dst, 0)) {
        routes.keep(route->dst);
        load.doubtful.insert(route->dst);
        return;
    }
    const bool dumped = socket.is_reply(message);
    if (dumped && !load.only.empty() && !load.only.contains(route->dst)) {
        return;
    }
    load.disturbed |= !dumped && route->dst.addr.family == AF_INET6;
    stats.ignored += route->opaque ? 1 : 0; // its prefix is punted
    note_dead(*route);
    const bool changed =
        message.nlmsg_type == RTM_NEWROUTE ? routes.add(*route, source_of(message, dumped)) : routes.remove(*route);
    if (changed) {
        route_changed(route->dst, route->table == RT_TABLE_LOCAL);
    }
}

} // namespace halfpoll
