// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "forward/tables/bucket_share.hpp"
#include "forward/tables/ip_prefix.hpp"
#include "forward/tables/nexthop.hpp"

#include <compare>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <unordered_map>
#include <vector>

namespace halfpoll
{

/// What tells two next hops apart.
struct nexthop_key {
    int oif = 0;
    ip_addr gateway;         ///< family 0: the destination itself, which is not known yet (glean)
    std::uint8_t family = 0; ///< of the packets
    std::uint32_t mtu = 0;   ///< of the route; 0: the interface's alone
    auto operator<=>(const nexthop_key &) const = default;
};

/// What is done with packets for a next hop, as things stand.
struct nexthop_state {
    adjacency adj;
    bool active = true; ///< takes its share of a group: not if its link is down or nobody knows its link address
};

struct nexthop_member {
    nexthop_key hop;
    std::uint32_t weight = 1;
    auto operator<=>(const nexthop_member &) const = default;
};

/// What tells two groups apart.
struct nexthop_group_key {
    std::uint32_t id = 0; ///< `ip nexthop` object, whatever it holds; 0: `members`
    std::uint8_t family = 0;
    std::uint32_t mtu = 0;
    std::vector<nexthop_member> members; ///< in the route's order
    auto operator<=>(const nexthop_group_key &) const = default;
};

/// What an `ip nexthop` object holds.
struct nexthop_contents {
    std::optional<adjacency> fixed; ///< no next hop but this, for all packets
    std::vector<nexthop_member> members;
};

/// Next hops shared by all prefixes that use them, alone and in groups, so that a change of a neighbour, a link or an
/// `ip nexthop` object is a few stores for all. Control thread.
class shared_nexthops
{
public:
    struct callbacks {
        std::function<nexthop_state(const nexthop_key &)> state;
        std::function<nexthop_contents(const nexthop_group_key &)> contents; ///< of a key with an id
    };

    shared_nexthops(nexthop_table &table, callbacks ask) : table_(table), ask_(std::move(ask)) {}

    /// One more user; the index. Throws `error` if the table is full.
    std::uint32_t acquire(const nexthop_key &key);
    /// The same for several, or for what an object holds. With one next hop in use the index is an alias of that. If
    /// the table has no room for its members, the group punts (PUNT_TABLE_FULL) until fill_up() finds some.
    std::uint32_t acquire(const nexthop_group_key &key);
    /// One user less; unknown indices are nobody's.
    void release(std::uint32_t index);

    /// Calls fn for each next hop (`hop` null: a group), with its users: prefixes and groups.
    using visitor = std::function<void(std::uint32_t index, const nexthop_key *hop, std::uint32_t users)>;
    void visit(const visitor &fn) const;

    /// The state may have changed for one neighbour.
    void refresh(int oif, const ip_addr &gateway);
    /// … for an interface, or whatever sends out of a device (null: none).
    void refresh(int oif, const net_device *dev);
    /// … for all packets of a family.
    void refresh(std::uint8_t family);
    /// The contents of `ip nexthop` objects may have changed.
    void refresh_objects(const std::set<std::uint32_t> &ids);

    /// Tries again to give groups the members that had no room.
    void fill_up();
    /// Users of groups whose members have no room.
    std::uint32_t users_without_room() const;

    /// Hands marks of use down from groups to their members.
    void spread_used_marks();
    struct hop_info {
        const nexthop_key &key;
        std::uint32_t index;
        bool in_group;
    };
    /// Calls fn for each next hop behind `after` in some fixed order, then for the others, as long as it returns true.
    void for_each_hop(const nexthop_key &after, const std::function<bool(const hop_info &)> &fn) const;

private:
    struct group;
    struct hop {
        std::uint32_t index = 0;
        std::uint32_t users = 0; ///< groups among them
        nexthop_state now;
        std::set<group *> groups;
    };
    using hop_map = std::map<nexthop_key, hop>;
    struct share {
        hop_map::iterator hop;
        std::uint32_t weight = 1;
    };
    struct group {
        std::uint32_t index = 0;
        std::uint32_t users = 0;
        std::optional<adjacency> fixed;
        bool no_room = false;               ///< for its members: `fixed` punts
        std::vector<share> shares;          ///< distinct
        std::vector<std::uint32_t> buckets; ///< as they were last, whoever is active now
    };
    using group_map = std::map<nexthop_group_key, group>;

    hop_map::iterator find_or_make(const nexthop_key &key);
    void release(hop_map::iterator found);
    void refresh(hop_map::value_type &entry);
    void fill(group &g, const nexthop_contents &contents);
    void take(group &g, const nexthop_member &member);
    void set_no_room(group &g, bool no_room);
    nexthop_contents contents_of(const nexthop_group_key &key) const;
    void let_go(group &g, const std::vector<share> &shares);
    void publish(group &g);

    nexthop_table &table_;
    callbacks ask_;
    hop_map hops_;
    group_map groups_;
    std::size_t without_room_ = 0; ///< groups
    std::unordered_map<std::uint32_t, hop_map::iterator> hop_by_index_;
    std::unordered_map<std::uint32_t, group_map::iterator> group_by_index_;
};

} // namespace halfpoll
