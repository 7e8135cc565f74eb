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

/// Identity of a next hop.
struct nexthop_key {
    int oif = 0;
    ip_addr gateway;         ///< family 0: the destination itself, which is not known yet (glean)
    std::uint8_t family = 0; ///< family of the packets
    std::uint32_t mtu = 0;   ///< MTU of the route; 0: only the interface's counts
    auto operator<=>(const nexthop_key &) const = default;
};

/// The present decision for the packets of a next hop.
struct nexthop_state {
    adjacency adj;
    bool active = true; ///< takes its share of a group; false if its link is down or its link address is unknown
};

struct nexthop_member {
    nexthop_key hop;
    std::uint32_t weight = 1;
    auto operator<=>(const nexthop_member &) const = default;
};

/// Identity of a group.
struct nexthop_group_key {
    std::uint32_t id = 0; ///< `ip nexthop` object, independent of its contents; 0: `members`
    std::uint8_t family = 0;
    std::uint32_t mtu = 0;
    std::vector<nexthop_member> members; ///< in the order of the route
    auto operator<=>(const nexthop_group_key &) const = default;
};

/// Contents of an `ip nexthop` object.
struct nexthop_contents {
    std::optional<adjacency> fixed; ///< if set, the decision for all packets; there is no next hop
    std::vector<nexthop_member> members;
};

/// Next hops, single and in groups, shared by all prefixes that use them, so that a change of a neighbour, a link or an
/// `ip nexthop` object costs a few stores for all of those prefixes. Control thread.
class shared_nexthops
{
public:
    struct callbacks {
        std::function<nexthop_state(const nexthop_key &)> state;
        std::function<nexthop_contents(const nexthop_group_key &)> contents; ///< of a key whose id is not 0
    };

    shared_nexthops(nexthop_table &table, callbacks ask) : table_(table), ask_(std::move(ask)) {}

    /// Adds a user and returns the index. Throws `error` if the table is full.
    std::uint32_t acquire(const nexthop_key &key);
    /// As above, for several next hops or for the contents of an object. If only one next hop is active, the index is
    /// an alias of that. If the table has no room for the members, the group punts (PUNT_TABLE_FULL) until fill_up()
    /// finds room.
    std::uint32_t acquire(const nexthop_group_key &key);
    /// Removes a user. Ignores an index that acquire() did not return.
    void release(std::uint32_t index);

    /// Calls fn for each next hop (`hop` is null for a group). `users`: number of prefixes and groups that use it.
    using visitor = std::function<void(std::uint32_t index, const nexthop_key *hop, std::uint32_t users)>;
    void visit(const visitor &fn) const;

    /// Called when the state of one neighbour may have changed.
    void refresh(int oif, const ip_addr &gateway);
    /// Called when the state of an interface, or of everything that sends out of `dev` (null: no device), may have
    /// changed.
    void refresh(int oif, const net_device *dev);
    /// Called when the state of all next hops of a family may have changed.
    void refresh(std::uint8_t family);
    /// Called when the contents of these `ip nexthop` objects may have changed.
    void refresh_objects(const std::set<std::uint32_t> &ids);

    /// Retries to give members to the groups that had no room for them.
    void fill_up();
    /// Number of users of groups whose members have no room.
    std::uint32_t users_without_room() const;

    /// Passes marks of use from groups to their members.
    void spread_used_marks();
    struct hop_info {
        const nexthop_key &key;
        std::uint32_t index;
        bool in_group;
    };
    /// Calls fn for each next hop after `after`, in a fixed order, then for the others, until fn returns false.
    void for_each_hop(const nexthop_key &after, const std::function<bool(const hop_info &)> &fn) const;

private:
    struct group;
    struct hop {
        std::uint32_t index = 0;
        std::uint32_t users = 0; ///< prefixes and groups
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
        bool no_room = false;               ///< there was no room for its members: `fixed` punts
        std::vector<share> shares;          ///< one for each distinct next hop
        std::vector<std::uint32_t> buckets; ///< the last distribution; unchanged while no member is active
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
    std::size_t without_room_ = 0; ///< number of groups with `no_room`
    std::unordered_map<std::uint32_t, hop_map::iterator> hop_by_index_;
    std::unordered_map<std::uint32_t, group_map::iterator> group_by_index_;
};

} // namespace halfpoll
