// SPDX-License-Identifier: BSD-3-Clause
#include "mirror_ingress.hpp"

#include "forward/packet/wire.hpp"

#include <map>
#include <vector>

namespace halfpoll
{

ingress_publisher::~ingress_publisher()
{
    for (const shadow *s : slow_.shadows()) {
        table_.set(s->dev->ifindex, {});
        slow_.set_pass(*s, {});
    }
}

/// Publishes a port's interfaces to the data path after an interface changed (the port's shadow or a VLAN on it). If
/// the interface has no port any more, publishes those of every port.
void ingress_publisher::publish(int ifindex)
{
    const auto changed = egress_.of(ifindex);
    taken_.clear();
    for (const auto &[index, link] : state_.links) {
        taken_.insert(link.what.takes_from);
    }
    std::map<const shadow *, std::vector<rx_interface>> by_port;
    for (const auto &[index, link] : state_.links) {
        const auto path = egress_.of(index);
        if (path && (!changed || path->port == changed->port)) {
            by_port[path->port].push_back(interface_of(index, link.what, *path));
        }
    }
    // A shadow's interface may be gone, or in another namespace: all packets of its port are then for the kernel.
    if (!changed) {
        rx_interface elsewhere;
        elsewhere.kernel_only = true;
        for (const shadow *s : slow_.shadows()) {
            by_port.try_emplace(s, std::vector{elsewhere});
        }
    }
    for (const auto &[port, interfaces] : by_port) {
        table_.set(port->dev->ifindex, interfaces);
        passes_.publish(*port, interfaces);
    }
}

rx_interface ingress_publisher::interface_of(int ifindex, const link_message &link, const egress_path &path) const
{
    rx_interface in;
    in.oif = static_cast<std::uint32_t>(ifindex);
    in.mac = load_mac(path.mac.addr_bytes);
    for (std::size_t i = 0; i < path.tags.size(); ++i) {
        in.tpid[i] = path.tags[i].protocol;
        in.vid[i] = path.tags[i].id;
    }
    in.rp_filter = state_.netconf.rp_filter(ifindex);
    in.up = path.up;
    in.forwarding4 = state_.netconf.forwarding4(ifindex);
    const auto link6 = state_.links6.find(ifindex);
    in.forwarding6 = state_.netconf.forwarding6(ifindex) && (link6 == state_.links6.end() || !link6->second.disabled);
    // Belongs to a bridge, a bond or a VRF, or another interface takes its frames.
    in.kernel_only = link.master != 0 || taken_.contains(ifindex);
    // What a shadow's device is told to receive concerns the VLANs on it, too.
    in.promiscuous = state_.promiscuous.contains(path.port->kernel_ifindex);
    in.kernel4 = gate_.kernel_forwards(AF_INET, policy_side::in, ifindex);
    in.kernel6 = gate_.kernel_forwards(AF_INET6, policy_side::in, ifindex);
    return in;
}

} // namespace halfpoll
