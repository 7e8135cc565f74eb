// SPDX-License-Identifier: BSD-3-Clause
#include "mirror_adjacency.hpp"

#include <halfpoll/net_device.hpp>

#include <algorithm>

namespace halfpoll
{

namespace
{

template <typename T>
std::uint8_t *put(std::uint8_t *at, const T &value)
{
    return std::copy_n(reinterpret_cast<const std::uint8_t *>(&value), sizeof value, at);
}

/// Writes the link header: addresses, tags, EtherType.
void write_header(adjacency &a, const egress_path &out, const rte_ether_addr &to, std::uint8_t family)
{
    std::uint8_t *at = put(put(a.rewrite, to), out.mac);
    for (const egress_path::tag &tag : out.tags) {
        at = put(put(at, rte_cpu_to_be_16(tag.protocol)), rte_cpu_to_be_16(tag.id));
    }
    const std::uint16_t type = family == AF_INET ? RTE_ETHER_TYPE_IPV4 : RTE_ETHER_TYPE_IPV6;
    at = put(at, rte_cpu_to_be_16(type));
    a.rewrite_len = static_cast<std::uint8_t>(at - a.rewrite);
}

} // namespace

/// Largest packet that the data path sends. Longer ones are punted.
std::uint32_t adjacency_maker::mtu_of(const nexthop_key &key, const egress_path &out) const
{
    std::uint32_t mtu = key.mtu == 0 ? out.mtu : std::min(out.mtu, key.mtu);
    const auto link6 = key.family == AF_INET6 ? state_.links6.find(key.oif) : state_.links6.end();
    if (link6 != state_.links6.end() && link6->second.mtu != 0) {
        mtu = std::min(mtu, link6->second.mtu);
    }
    return mtu;
}

nexthop_state adjacency_maker::state_of(const nexthop_key &key) const
{
    const auto out = egress_.of(key.oif);
    if (!out || gate_.kernel_forwards(key.family, policy_side::out, key.oif)) {
        return {punt_as(PUNT_KERNEL)}; // the kernel forwards its packets
    }
    const auto neighbour = state_.neighbours.find({key.gateway, key.oif});
    nexthop_state state;
    adjacency &a = state.adj;
    if (!out->up || neighbour == state_.neighbours.end()) {
        a = punt_as(PUNT_RESOLVE);
        a.dev = out->port->dev;
        a.ifindex = a.dev->ifindex;
        a.oif = static_cast<std::uint32_t>(key.oif);
        state.active = out->up && key.gateway.family == AF_UNSPEC;
        return state;
    }
    a.kind = adjacency_kind::forward;
    a.dev = out->port->dev;
    a.ifindex = a.dev->ifindex;
    a.oif = static_cast<std::uint32_t>(key.oif);
    a.mtu = static_cast<std::uint16_t>(std::min(mtu_of(key, *out), 65535U));
    write_header(a, *out, neighbour->second.mac, key.family);
    return state;
}

nexthop_contents adjacency_maker::contents_of(const nexthop_group_key &key) const
{
    const auto object = state_.objects.find(key.id);
    if (object == state_.objects.end()) {
        return {punt_as(PUNT_KERNEL), {}}; // its RTM_NEWNEXTHOP has not arrived yet
    }
    std::vector<nexthop_message::member> ids = object->second.what.group;
    if (ids.empty()) {
        ids.push_back({.id = key.id});
    }
    nexthop_contents contents;
    for (const nexthop_message::member &member : ids) {
        const auto single = state_.objects.find(member.id);
        if (single == state_.objects.end()) {
            continue; // deleted: the message about the group follows
        }
        const nexthop_message &what = single->second.what;
        if (what.blackhole || what.opaque) {
            return {what.opaque ? punt_as(PUNT_KERNEL) : drop_as(DROP_BLACKHOLE), {}};
        }
        contents.members.push_back(
            {{.oif = what.hop.oif, .gateway = what.hop.gateway, .family = key.family, .mtu = key.mtu}, member.weight});
    }
    if (contents.members.empty()) {
        contents.fixed = punt_as(PUNT_KERNEL);
    }
    return contents;
}

} // namespace halfpoll
