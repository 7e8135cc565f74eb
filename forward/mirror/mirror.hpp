// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "forward/packet/forwarder.hpp"
#include "mirror_nexthops.hpp"
#include "mirror_routes.hpp"

#include <functional>
#include <linux/netlink.h>
#include <memory>
#include <span>
#include <string>

namespace halfpoll
{

struct mirror_stats {
    std::uint64_t messages = 0; ///< netlink messages applied
    std::uint64_t resyncs = 0;  ///< full dumps: at start, after an overrun (ENOBUFS), on request
    std::uint64_t ignored = 0;  ///< messages about what is not mirrored
    std::uint64_t errors = 0;   ///< that could not be applied: what the device does not take, a prefix without room
    std::uint64_t probes = 0;   ///< neighbours that the kernel was told are in use
    /// Families (AF_INET, AF_INET6) that the kernel alone forwards, since its rules ask for more than the local, main
    /// and default tables.
    bool policy_routing4 = false, policy_routing6 = false;
    /// Prefixes that the kernel alone forwards at present, since a table of the forwarder is full (PUNT_TABLE_FULL).
    /// They are tried again every second, and faster while room is found.
    std::uint64_t without_room = 0;
};

/// Follows the kernel's links, addresses, routes (main and local table), `ip nexthop` objects and neighbours of one
/// namespace and writes them into the forwarder's tables, for interfaces that are shadows or VLANs on them. Rules and
/// further tables are not followed: while there are rules that could lead a forwarded packet to another table, all
/// packets of that family are punted, so that the kernel forwards them. Control thread only.
class mirror
{
public:
    static constexpr unsigned default_receive_buffer = 32U << 20;

    /// Subscribes and loads the first state. `receive_buffer`: bytes of notifications that the kernel may keep for us
    /// (about 800 each). Throws `error`.
    mirror(forwarder &fwd, slow_path &slow, const std::string &netns, unsigned receive_buffer = default_receive_buffer);
    /// Takes its prefixes and next hops out of the forwarder's tables.
    ~mirror();
    mirror(const mirror &) = delete;
    mirror &operator=(const mirror &) = delete;

    /// Readable when there is something to process().
    int fd() const noexcept;
    /// Applies what is waiting; dumps again what the kernel changed without a message, or everything when messages were
    /// lost (mark and sweep, no forwarding gap). Returns after a few hundredths of a second, whether all is done or
    /// not: fd() tells. Throws `error` if the socket is broken.
    void process();
    /// All that the kernel has told up to now is applied, and what it changed without a word has been dumped.
    bool settled() const;
    /// Re-evaluates everything that goes over a device, after its carrier, MTU or shadow changed; before it is
    /// unregistered, too.
    void device_changed(net_device &dev);
    /// Dumps the kernel's state again, now, and waits for it: long on a kernel that is busy.
    void resync();
    /// Keeps the neighbours that the data path uses fresh in the kernel. process() does it every few seconds.
    void tend_neighbours();
    /// Takes a message as if the kernel had just sent it.
    void apply(const nlmsghdr &message);
    const mirror_stats &stats() const noexcept;

    // What has been learnt, to be shown. No call back into the mirror from a visitor.

    /// The kernel's routes for a prefix, best first, and what the FIB holds for it (route_entry::none: nothing). False:
    /// no more.
    using route_visitor = std::function<bool(const ip_prefix &, std::span<const kernel_route>, std::uint32_t nexthop)>;
    /// In the order of prefixes, from `from` on (ip_prefix{}: all).
    void visit_routes(const ip_prefix &from, const route_visitor &fn) const;
    /// Neighbours in a state in which the kernel would send to them, in the order of addresses.
    using neighbour_visitor = std::function<void(const ip_addr &, int kernel_ifindex, const rte_ether_addr &)>;
    void visit_neighbours(const neighbour_visitor &fn) const;
    /// Next hops that routes share.
    using nexthop_visitor = shared_nexthops::visitor;
    void visit_nexthops(const nexthop_visitor &fn) const;

private:
    struct impl;
    std::unique_ptr<impl> impl_;
};

} // namespace halfpoll
