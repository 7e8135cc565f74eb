// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "mirror.hpp"

#include "mirror_nexthops.hpp"
#include "mirror_routes.hpp"
#include "netlink.hpp"

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace halfpoll
{

struct known_link {
    bool up = false;
    bool is_shadow = false;
    std::uint32_t mtu = 0;
    rte_ether_addr mac{};
    std::uint32_t generation = 0;
};

struct known_neighbour {
    rte_ether_addr mac{};
    std::uint32_t generation = 0;
};

/// By address, so that those under a prefix stand together.
using neighbour_map = std::map<std::pair<ip_addr, int>, known_neighbour>;

/// A dump of one kind and family.
struct table_request {
    int type;
    std::uint8_t family;
};

inline adjacency punt_as(punt_class c)
{
    adjacency a;
    a.kind = adjacency_kind::punt;
    a.punt = c;
    return a;
}

/// What the mirror knows and does: mirror.cpp loads, mirror_messages.cpp reads messages, mirror_fib.cpp draws the
/// consequences.
struct mirror::impl {
    forwarder &fwd;
    slow_path &slow;
    netlink_socket socket;
    int epoll_fd = -1;
    int retry_fd = -1; ///< timer: load again
    mirror_stats stats;
    bool complained = false;

    std::map<int, known_link> links;
    neighbour_map neighbours; ///< the valid ones
    route_table routes;
    shared_nexthops nexthops;
    std::set<ip_prefix> choices; ///< prefixes whose best routes have more than one next hop
    std::uint32_t generation = 0;
    bool lost_messages = false;
    bool stale_ipv4_routes = false; ///< the kernel removed some without a word

    /// Next hops that need nothing but a class.
    std::uint32_t local, control, other, blackhole;
    /// Never forwarded, whatever the routes say.
    std::map<ip_prefix, std::uint32_t> fixed;

    impl(forwarder &f, slow_path &s, const std::string &netns, unsigned receive_buffer);
    ~impl();

    // Loading.
    void resync();
    bool load();
    netlink_socket::dumped dump(const table_request &table);
    void sweep_all();
    void sweep_routes(std::uint8_t family);
    void refresh_ipv4_routes();
    void retry_later();

    // Messages.
    void handle(const nlmsghdr &message);
    void apply_link(const link_message &link);
    void forget_link(int ifindex);
    void apply_neighbour(const neighbour_message &neighbour);
    void forget_neighbour(const std::pair<ip_addr, int> &key);
    void apply_route(const nlmsghdr &message);

    // Consequences.
    void link_changed(int ifindex);
    void adopt_link(net_device &dev, const known_link &before, known_link now);
    void neighbour_changed(const ip_addr &addr, int ifindex);
    void route_changed(const ip_prefix &prefix, bool local);
    void reselect();
    void evaluate(const ip_prefix &prefix);
    std::uint32_t decide(const ip_prefix &prefix, const std::vector<kernel_route> &list);
    std::uint32_t decide_neighbour(const ip_addr &addr);
    std::uint32_t acquire(const ip_addr &to, bool host, const kernel_route &route, const route_hop &hop);
    std::pair<const kernel_route *, const route_hop *> choose(const std::vector<kernel_route> &list) const;
    bool usable(int ifindex) const;
    bool never_forwarded(const ip_prefix &prefix) const;
    adjacency make_adjacency(const nexthop_key &key) const;
    void write_fib(const ip_prefix &prefix, std::uint32_t nexthop);
    void complain(const std::string &what);
};

} // namespace halfpoll
