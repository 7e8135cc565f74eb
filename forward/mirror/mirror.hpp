// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "forward/packet/forwarder.hpp"
#include "forward/policy/policy.hpp"
#include "interface_policy.hpp"
#include "mirror_nexthops.hpp"
#include "mirror_routes.hpp"
#include "mirror_stats.hpp"
#include "policy_news.hpp"

#include <functional>
#include <linux/netlink.h>
#include <memory>
#include <span>
#include <string>

namespace halfpoll
{

/// Mirrors the kernel's links, addresses, routes (main and local table), `ip nexthop` objects and neighbours of one
/// namespace into the forwarder's tables, for interfaces that are shadows or VLANs on them. Further tables are not
/// mirrored: while a rule could lead a forwarded packet to another table, the packets that it concerns are punted, so
/// that the kernel forwards them. Control thread only.
class mirror
{
public:
    static constexpr unsigned default_receive_buffer = 32U << 20;

    /// Subscribes and loads the first state. `receive_buffer`: bytes of notifications that the kernel may queue for the
    /// mirror (about 800 each). Throws `error`.
    mirror(forwarder &fwd, slow_path &slow, const std::string &netns, unsigned receive_buffer = default_receive_buffer);
    /// Removes its prefixes and next hops from the forwarder's tables.
    ~mirror();
    mirror(const mirror &) = delete;
    mirror &operator=(const mirror &) = delete;

    /// Readable when process() has work to do.
    int fd() const noexcept;
    /// Applies the messages that wait. Dumps again the tables that the kernel changed without a message, or all tables
    /// if messages were lost (mark and sweep, no forwarding gap). Returns after about 20 ms even if work is left; fd()
    /// then stays readable. Throws `error` if the socket is broken.
    void process();
    /// True if all messages that the kernel has sent so far are applied, and the tables that it changed without a
    /// message have been dumped.
    bool settled() const;
    /// Re-evaluates everything that uses a device after its carrier, MTU or shadow changed. Called also before the
    /// device is unregistered.
    void device_changed(net_device &dev);
    /// Dumps the kernel's state again and waits for the end of the dumps, which takes long on a kernel that is busy.
    void resync();
    /// Keeps the neighbours that the data path uses fresh in the kernel. process() calls it every few seconds.
    void tend_neighbours();
    /// Applies a message as if the kernel had just sent it.
    void apply(const nlmsghdr &message);
    mirror_stats stats() const;
    /// Why packets are left to the kernel, and which kinds of reasons are obeyed.
    policy &policies();
    /// Called by process() with a line for a log, once when a reason appears or goes (policy_news).
    std::function<void(policy_news::event, const std::string &)> on_policy_news;

    // The learnt state, for display. A visitor never calls back into the mirror.

    /// Visits a prefix: the kernel's routes for it, best first, and the next hop that the FIB holds for it
    /// (route_entry::none: nothing). Returns false to stop.
    using route_visitor = std::function<bool(const ip_prefix &, std::span<const kernel_route>, std::uint32_t nexthop)>;
    /// In the order of prefixes, beginning at `from` (ip_prefix{}: all).
    void visit_routes(const ip_prefix &from, const route_visitor &fn) const;
    /// Neighbours in a state in which the kernel sends to them, in the order of addresses.
    using neighbour_visitor = std::function<void(const ip_addr &, int kernel_ifindex, const rte_ether_addr &)>;
    void visit_neighbours(const neighbour_visitor &fn) const;
    /// The next hops that routes share.
    using nexthop_visitor = shared_nexthops::visitor;
    void visit_nexthops(const nexthop_visitor &fn) const;
    /// How one family of packets is forwarded by each interface that is a shadow or a VLAN on one.
    using policy_visitor = std::function<void(const interface_policy &)>;
    void visit_policies(const policy_visitor &fn) const;

private:
    struct impl;
    std::unique_ptr<impl> impl_;
};

} // namespace halfpoll
