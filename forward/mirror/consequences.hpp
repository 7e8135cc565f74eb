// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "kernel_state.hpp"
#include "mirror_fib.hpp"
#include "mirror_ingress.hpp"
#include "mirror_nexthops.hpp"
#include "mirror_routes.hpp"

#include <cstdint>
#include <set>
#include <utility>

namespace halfpoll
{

/// Finds the interfaces, next hops and prefixes that depend on a change of the kernel's state or of a device, and
/// brings each of them up to date. Called after the change.
class consequences
{
public:
    consequences(const kernel_state &state, const route_table &routes, ingress_publisher &ingress,
                 shared_nexthops &nexthops, fib_updater &fib, const policy_gate &gate)
        : state_(state), routes_(routes), ingress_(ingress), nexthops_(nexthops), fib_(fib), gate_(gate)
    {
    }

    void link_changed(int ifindex);
    /// Settings of an interface, or of all (netconf_table::every), that matter to the packets that come in on it.
    void ingress_changed(int ifindex) { ingress_.publish(ifindex); }
    void mtu_changed(int ifindex) { nexthops_.refresh(ifindex, nullptr); }
    /// MTU or link address of a device.
    void device_address_changed(const net_device &dev) { nexthops_.refresh(0, &dev); }
    /// Carrier, MTU or shadow of a device changed. If it has a shadow, the caller calls link_changed() first.
    void device_changed(const net_device &dev);
    /// The routes of a family over an interface no longer count, or count again (kernel_state::dead_links).
    void dead_link_changed(std::uint8_t family, int ifindex);
    /// kernel_state::beyond_main of a family changed.
    void beyond_main_changed(std::uint8_t family);
    /// The answers of the policy_gate changed.
    void policy_changed();
    void neighbour_changed(const ip_addr &addr, int ifindex);
    /// `before` or `now` is empty if the object is new or gone.
    void object_changed(const nexthop_message &before, const nexthop_message &now);
    /// `in_local_table`: routes of the local table changed, which take precedence over all longer prefixes of the main
    /// table.
    void route_changed(const ip_prefix &prefix, bool in_local_table);

private:
    void egress_changed(int ifindex);
    void update_neighbours_on(int ifindex);

    const kernel_state &state_;
    const route_table &routes_;
    ingress_publisher &ingress_;
    shared_nexthops &nexthops_;
    fib_updater &fib_;
    const policy_gate &gate_;
    std::set<std::pair<std::uint8_t, int>> closed_; ///< family and ifindex by which the kernel alone sends
};

} // namespace halfpoll
