// SPDX-License-Identifier: BSD-3-Clause
#include "link_mirror.hpp"

#include <halfpoll/error.hpp>

#include <algorithm>
#include <linux/rtnetlink.h>
#include <utility>
#include <vector>

namespace halfpoll
{

namespace
{

bool same_mac(const rte_ether_addr &a, const rte_ether_addr &b) { return rte_is_same_ether_addr(&a, &b) != 0; }

bool same_link(const link_message &a, const link_message &b)
{
    return a.up == b.up && a.mtu == b.mtu && same_mac(a.mac, b.mac) && a.master == b.master && a.lower == b.lower &&
           a.vlan_id == b.vlan_id && a.vlan_protocol == b.vlan_protocol && a.takes_from == b.takes_from &&
           a.name == b.name && a.altnames == b.altnames; // policy_reason::device is a name
}

} // namespace

/// Called when a shadow's interface may have been renamed, or moved to another namespace or back.
void link_mirror::look_at(shadow &s)
{
    try {
        slow_.look_at(s);
    } catch (const error &e) {
        report_.complain(e.what());
    }
}

void link_mirror::look_at_moved()
{
    for (shadow *s : slow_.shadows()) {
        if (s->moved) {
            look_at(*s);
        }
    }
}

/// The shadow that the link belongs to, or null. The name of a shadow's interface is read through the shadow's fd, not
/// taken from the message.
shadow *link_mirror::shadow_of(const link_message &message)
{
    if (shadow *s = slow_.of_kernel_ifindex(message.ifindex)) {
        if (s->name != message.name) {
            look_at(*s);
        }
        slow_.look_at_offloads(*s);
    } else {
        look_at_moved();
    }
    return slow_.of_kernel_ifindex(message.ifindex);
}

void link_mirror::apply(const link_message &message)
{
    known_link &link = state_.links[message.ifindex];
    const known_link before = link;
    shadow *s = shadow_of(message);
    loads_.links_moved = true;
    link = {.what = message, .is_shadow = s != nullptr, .generation = loads_.generation};
    mark_stale(before.what, message);
    const auto stranded = [](const auto &entry) { return entry.second.what.lower == link_message::lower_elsewhere; };
    // The device below such a link may be back.
    loads_.stale.links |= before.what.ifindex == 0 && std::ranges::any_of(state_.links, stranded);
    carrier_changed(message.ifindex);
    if (message.mtu != before.what.mtu || (message.up && !before.what.up)) {
        state_.links6[message.ifindex].mtu = 0; // the kernel then sets it to the link's MTU
    }
    if (same_link(link.what, before.what) && link.is_shadow == before.is_shadow) {
        return;
    }
    consequences_.link_changed(message.ifindex);
    if (s) {
        adopt(*s, before.what, message); // comes last: it may call device_changed()
    }
}

/// When a link goes down, the kernel removes its routes (of IPv6 with a message, unless
/// net.ipv6.route.skip_notify_on_dev_down is set). When it goes down or loses its carrier, the kernel removes its `ip
/// nexthop` objects, without a message. When link or carrier come back, it revives next hops, without a message. It
/// does all this after it has sent the message about the link, so that a dump under way may still show the state
/// before.
void link_mirror::mark_stale(const link_message &before, const link_message &now)
{
    const bool down = before.up && !now.up;
    const bool lost = (before.carrier && !now.carrier) || (before.running && !now.running);
    const bool revived = before.ifindex != 0 && ((!before.up && now.up) || (!before.carrier && now.carrier));
    loads_.stale.routes4 |= down || (revived && (loads_.dead_hops4 || loads_.loading()));
    loads_.stale.routes6 |= down || (revived && (loads_.dead_hops6 || loads_.loading()));
    loads_.stale.objects |= (!state_.objects.empty() || loads_.loading()) && (down || lost);
}

/// Copies the settings that an administrator made on the shadow to the device: MTU and link address. If the device does
/// not take one, the shadow gets the former back: packets that the kernel takes for sendable would be lost.
void link_mirror::adopt(shadow &s, const link_message &before, const link_message &now)
{
    net_device &dev = *s.dev;
    try {
        if (now.mtu != before.mtu && now.mtu != dev.mtu.load(std::memory_order_relaxed)) {
            core_.set_mtu(dev, now.mtu);
        }
        if (!same_mac(now.mac, before.mac) && !same_mac(now.mac, dev.mac)) {
            core_.set_mac(dev, now.mac);
        }
    } catch (const error &e) {
        set_back(s, now, e.what());
    }
    consequences_.device_address_changed(dev);
}

/// A value that was set again meanwhile stays: its message follows.
void link_mirror::set_back(shadow &s, const link_message &refused, const std::string &why)
{
    try {
        slow_.set_back(s, refused.mac, refused.mtu);
        report_.complain("shadow " + s.name + " gets the MTU and the link address of its port back, MTU " +
                         std::to_string(s.dev->mtu.load(std::memory_order_relaxed)) + ": " + why);
    } catch (const error &e) {
        report_.complain(why + "; and " + e.what());
    }
}

void link_mirror::forget(int ifindex)
{
    loads_.links_moved = true;
    if (shadow *s = slow_.of_kernel_ifindex(ifindex)) {
        look_at(*s);
    }
    if (state_.links.erase(ifindex) == 0) {
        return;
    }
    carrier_changed(ifindex);
    state_.links6.erase(ifindex);
    loads_.stale.routes4 = loads_.stale.routes6 = true;
    loads_.stale.objects |= !state_.objects.empty() || loads_.loading();
    std::vector<int> uppers; // VLANs on a link that moved to another namespace, where the kernel still uses it
    for (auto &[upper, link] : state_.links) {
        if (link.what.lower == ifindex) {
            link.what.lower = link_message::lower_elsewhere;
            uppers.push_back(upper);
        }
    }
    consequences_.link_changed(ifindex);
    std::ranges::for_each(uppers, [this](int upper) { consequences_.link_changed(upper); });
}

/// Called when an interface's carrier or its ignore_routes_with_linkdown changed: routes over it may no longer count,
/// or count again.
void link_mirror::carrier_changed(int ifindex)
{
    const auto link = state_.links.find(ifindex);
    const bool carrier = link == state_.links.end() || link->second.what.carrier;
    for (const std::uint8_t family : {std::uint8_t{AF_INET}, std::uint8_t{AF_INET6}}) {
        const bool dead = !carrier && state_.netconf.ignores_routes_with_linkdown(family, ifindex);
        const std::pair key(family, ifindex);
        if (dead != state_.dead_links.contains(key)) {
            dead ? void(state_.dead_links.insert(key)) : void(state_.dead_links.erase(key));
            consequences_.dead_link_changed(family, ifindex);
        }
    }
}

void link_mirror::apply(const link6_message &message)
{
    link6_message &link = state_.links6[message.ifindex];
    const link6_message before = std::exchange(link, message);
    if (before.disabled != message.disabled) {
        consequences_.ingress_changed(message.ifindex);
    }
    if (before.mtu != message.mtu) {
        consequences_.mtu_changed(message.ifindex);
    }
    if (state_.netconf.set_ignores_routes_with_linkdown6(message.ifindex, message.ignore_linkdown)) {
        carrier_changed(message.ifindex);
    }
}

void link_mirror::apply_netconf(const nlmsghdr &message)
{
    const int changed = state_.netconf.apply(message);
    if (changed != netconf_table::none) {
        consequences_.ingress_changed(changed); // `every` is no ifindex: publishes all ports
        for (const auto &[ifindex, link] : state_.links) {
            if (ifindex == changed || changed == netconf_table::every) {
                carrier_changed(ifindex);
            }
        }
    }
}

void link_mirror::device_changed(const net_device &dev)
{
    if (const shadow *s = slow_.of_device(dev)) {
        const auto link = state_.links.find(s->kernel_ifindex);
        if (link != state_.links.end()) {
            link->second.is_shadow = true;
        }
        consequences_.link_changed(s->kernel_ifindex);
    }
    consequences_.device_changed(dev);
}

void link_mirror::sweep()
{
    std::vector<int> gone;
    for (const auto &[ifindex, link] : state_.links) {
        if (link.generation != loads_.generation) {
            gone.push_back(ifindex);
        }
    }
    std::ranges::for_each(gone, [this](int ifindex) { forget(ifindex); });
}

} // namespace halfpoll
