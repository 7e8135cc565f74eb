// SPDX-License-Identifier: BSD-3-Clause
#include "forward/packet/wire.hpp"
#include "mirror_impl.hpp"

#include <algorithm>

namespace halfpoll
{

/// Publishes a port's interfaces to the data path after an interface changed (the port's shadow or a VLAN on it). If
/// the interface has no port any more, publishes those of every port.
void mirror::impl::publish_ingress(int ifindex)
{
    const auto changed = egress_of(ifindex);
    std::map<const shadow *, std::vector<rx_interface>> by_port;
    for (const auto &[index, link] : links) {
        const auto path = egress_of(index);
        if (path && (!changed || path->port == changed->port)) {
            by_port[path->port].push_back(ingress_of(index, link.what, *path));
        }
    }
    // A shadow's interface may be gone, or in another namespace: all packets of its port are then for the kernel.
    if (!changed) {
        rx_interface elsewhere;
        elsewhere.kernel_only = true;
        for (const shadow *s : slow.shadows()) {
            by_port.try_emplace(s, std::vector{elsewhere});
        }
    }
    for (const auto &[port, interfaces] : by_port) {
        fwd.interfaces().set(port->dev->ifindex, interfaces);
    }
}

rx_interface mirror::impl::ingress_of(int ifindex, const link_message &link, const egress_path &path) const
{
    rx_interface in;
    in.oif = static_cast<std::uint32_t>(ifindex);
    in.mac = load_mac(path.mac.addr_bytes);
    for (std::size_t i = 0; i < path.tags.size(); ++i) {
        in.tpid[i] = path.tags[i].protocol;
        in.vid[i] = path.tags[i].id;
    }
    in.rp_filter = netconf.rp_filter(ifindex);
    in.up = path.up;
    in.forwarding4 = netconf.forwarding4(ifindex);
    const auto link6 = links6.find(ifindex);
    in.forwarding6 = netconf.forwarding6(ifindex) && (link6 == links6.end() || !link6->second.disabled);
    in.kernel_only = link.master != 0; // belongs to a bridge, a bond or a VRF
    return in;
}

void mirror::impl::apply_netconf(const nlmsghdr &message)
{
    const int changed = netconf.apply(message);
    if (changed != netconf_table::none) {
        publish_ingress(changed); // `every` is no ifindex: publishes all ports
        for (const auto &[ifindex, link] : links) {
            if (ifindex == changed || changed == netconf_table::every) {
                carrier_changed(ifindex);
            }
        }
    }
}

} // namespace halfpoll
