// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "mirror.hpp"

#include "epoll_set.hpp"
#include "forward/netlink/netconf.hpp"
#include "forward/netlink/netlink.hpp"
#include "mirror_load.hpp"
#include "mirror_nexthops.hpp"
#include "mirror_routes.hpp"
#include "timer_fd.hpp"

#include <array>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace halfpoll
{

struct known_link {
    link_message what;
    bool is_shadow = false;
    std::uint32_t generation = 0;
};

struct known_neighbour {
    rte_ether_addr mac{};
    bool stale = false;     ///< in NUD_STALE, and not reported to the kernel as in use since
    bool confirmed = false; ///< was confirmed with this link address: slow_path::add_known() was called
    std::uint32_t generation = 0;
};

/// Ordered by address, so that the neighbours under a prefix stand together.
using neighbour_map = std::map<std::pair<ip_addr, int>, known_neighbour>;

struct known_object {
    nexthop_message what;
    std::uint32_t generation = 0;
};

/// How packets leave by a kernel interface that is a shadow, or a VLAN on a shadow.
struct egress_path {
    struct tag {
        std::uint16_t protocol = 0;
        std::uint16_t id = 0;
    };
    const shadow *port = nullptr;
    bool up = true; ///< the interface and all interfaces below it
    std::uint32_t mtu = 0;
    rte_ether_addr mac{};
    std::vector<tag> tags; ///< outermost first
};
inline constexpr std::size_t max_tags = 2;

inline adjacency punt_as(punt_class c)
{
    adjacency a;
    a.kind = adjacency_kind::punt;
    a.punt = c;
    return a;
}

inline adjacency drop_as(forward_drop_reason reason)
{
    adjacency a;
    a.kind = adjacency_kind::drop;
    a.drop = reason;
    return a;
}

/// State and functions of the mirror. mirror_load.cpp loads tables, mirror_messages.cpp applies messages.
/// mirror_fib.cpp updates prefixes after a change, mirror_carrier.cpp those over links without carrier, mirror_room.cpp
/// those that find a table full. mirror_adjacency.cpp makes next hops, mirror_neighbours.cpp keeps neighbours fresh.
struct mirror::impl {
    forwarder &fwd;
    slow_path &slow;
    netlink_socket socket;
    epoll_set events;
    timer_fd load_timer{events};  ///< beginning of the next load, or stall of the present one
    timer_fd tend_timer{events};  ///< tend_neighbours()
    timer_fd link6_timer{events}; ///< look_at_links6()
    timer_fd room_timer{events};  ///< find_room()
    mirror_stats stats;

    std::map<int, known_link> links;
    std::map<int, link6_message> links6;
    netconf_table netconf;
    neighbour_map neighbours; ///< only valid ones
    std::map<std::uint32_t, known_object> objects;
    std::vector<rule_message> rules;
    route_table routes;
    shared_nexthops nexthops;
    std::set<ip_prefix> choices; ///< prefixes with several equally good routes that do not form one group
    /// Prefixes that found a table full, each with its stand-in: the prefix in the FIB whose entry punts for it
    /// meanwhile. It is the prefix itself if that is in the FIB, else the longest covering prefix that needs no room.
    std::map<ip_prefix, ip_prefix> without_room;
    /// The stand-ins that differ from the prefix without room, and the number of prefixes that each stands in for.
    std::map<ip_prefix, std::uint32_t> stand_ins;
    std::string full_table; ///< the table that the warning names when the first prefix finds no room
    ip_prefix tried_last;   ///< the prefix at which find_room() stopped
    nexthop_key tended;     ///< the next hop at which tend_neighbours() stopped
    std::uint32_t generation = 0;
    bool lost_messages = false;
    stale_tables stale;
    table_load load;
    ktime_t load_after = 0;                      ///< the next load does not begin earlier
    unsigned failed_loads = 0;                   ///< number of consecutive loads that failed
    bool dead_hops4 = false, dead_hops6 = false; ///< dead next hops were seen since the last dump

    /// Family and ifindex of interfaces without carrier whose routes do not count (ignore_routes_with_linkdown).
    std::set<std::pair<std::uint8_t, int>> dead_links;

    /// Next hops that only punt under one class or drop for one reason.
    std::uint32_t local = unset, control = unset, other = unset, table_full = unset, blackhole = unset;
    static constexpr std::uint32_t unset = route_entry::none;
    /// Prefixes that are never forwarded, whatever the routes say, with their next hops.
    std::map<ip_prefix, std::uint32_t> fixed;

    impl(forwarder &f, slow_path &s, const std::string &netns, unsigned receive_buffer);
    /// Not part of the constructor, so that the destructor undoes what open() did before it threw.
    void open();
    ~impl();

    // Loading.
    void receive_until(ktime_t end);
    void take(const nlmsghdr &message);
    bool loading() const noexcept { return !load.tables.empty(); }
    bool settled() const;
    bool begin_load_if_due();
    void end_load(bool complete);
    void look_after_load();
    void request_table(bool united);
    void answered(int errnum);
    void table_read();
    void mark_doubtful(const table_request &table);
    bool is_newest(const nlmsghdr &message, const ip_prefix &prefix, std::int64_t number);
    void sweep(const table_request &table);
    void sweep_links();
    void sweep_neighbours(std::uint8_t family);
    void sweep_objects();
    void look_at_links6();

    // Messages.
    void handle(const nlmsghdr &message);
    void look_at(shadow &s);
    shadow *shadow_of(const link_message &link);
    void apply_link(const link_message &link);
    void mark_stale(const link_message &before, const link_message &now);
    void forget_link(int ifindex);
    void apply_address(const nlmsghdr &message);
    void apply_link6(const link6_message &link);
    void apply_neighbour(const neighbour_message &neighbour);
    void know_neighbour(const ip_addr &addr, known_neighbour &neighbour, bool known);
    void forget_neighbour(const std::pair<ip_addr, int> &key);
    void apply_object(const nexthop_message &object);
    void forget_object(std::uint32_t id);
    void apply_route(const nlmsghdr &message);
    void note_dead(const route_message &route);
    void judge_rules();
    void apply_netconf(const nlmsghdr &message);

    // Consequences for prefixes.
    void link_changed(int ifindex);
    void egress_changed(int ifindex);
    void publish_ingress(int ifindex);
    rx_interface ingress_of(int ifindex, const link_message &link, const egress_path &path) const;
    void adopt_link(net_device &dev, const link_message &before, const link_message &now);
    void neighbour_changed(const ip_addr &addr, int ifindex);
    void neighbours_on(int ifindex);
    void object_changed(const nexthop_message &before, const nexthop_message &now);
    void route_changed(const ip_prefix &prefix, bool local);
    void reselect();
    void evaluate(const ip_prefix &prefix);
    std::uint32_t decide_in_room(const ip_prefix &prefix, std::span<const kernel_route> list);
    std::uint32_t decide(const ip_prefix &prefix, std::span<const kernel_route> list);
    std::uint32_t decide_neighbour(const ip_addr &addr);
    std::uint32_t acquire(const ip_addr &to, bool host, std::span<const kernel_route> list);
    const kernel_route &choose(std::span<const kernel_route> list) const;
    const route_hop *only_hop(const kernel_route &route) const;
    bool usable(const kernel_route &route) const;
    bool never_forwarded(const ip_prefix &prefix) const;
    void write_fib(const ip_prefix &prefix, std::uint32_t nexthop);
    void complain(const std::string &what);

    // Links without carrier.
    void carrier_changed(int ifindex);
    void reroute(std::uint8_t family, int ifindex);
    std::span<const kernel_route> alive(std::uint8_t family, const std::vector<kernel_route> &list) const;
    std::span<const kernel_route> lookup(const ip_addr &addr) const;

    // Full tables.
    bool fits(const ip_prefix &prefix);
    bool hides_one(const ip_prefix &prefix) const;
    ip_prefix reach(const ip_prefix &prefix) const;
    void stand_in(const ip_prefix &prefix, const std::optional<ip_prefix> &entry);
    void find_room();
    void watch_room();
    void warn(const std::string &what) const;

    // Consequences for next hops.
    std::optional<egress_path> egress_of(int ifindex) const;
    bool usable(int ifindex) const;
    std::uint32_t mtu_of(const nexthop_key &key, const egress_path &out) const;
    nexthop_state make_state(const nexthop_key &key) const;
    nexthop_contents contents_of(const nexthop_group_key &key) const;

    void tend_neighbours();
};

} // namespace halfpoll
