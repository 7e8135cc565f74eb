// SPDX-License-Identifier: BSD-3-Clause
#include "mirror_nexthops.hpp"

#include <halfpoll/error.hpp>

#include <algorithm>
#include <iterator>
#include <utility>

namespace halfpoll
{

namespace
{
bool same(const adjacency &a, const adjacency &b)
{
    return a.kind == b.kind && a.rewrite_len == b.rewrite_len && a.punt == b.punt && a.drop == b.drop &&
           a.ifindex == b.ifindex && a.mtu == b.mtu && a.dev == b.dev && a.oif == b.oif &&
           std::ranges::equal(a.rewrite, b.rewrite);
}
} // namespace

// ---- single next hops ----

shared_nexthops::hop_map::iterator shared_nexthops::find_or_make(const nexthop_key &key)
{
    auto found = hops_.find(key);
    if (found == hops_.end()) {
        hop made;
        made.now = ask_.state(key);
        made.index = table_.add(made.now.adj);
        found = hops_.emplace(key, std::move(made)).first;
        hop_by_index_.emplace(found->second.index, found);
    }
    return found;
}

std::uint32_t shared_nexthops::acquire(const nexthop_key &key)
{
    const auto found = find_or_make(key);
    ++found->second.users;
    return found->second.index;
}

void shared_nexthops::release(hop_map::iterator found)
{
    if (--found->second.users > 0) {
        return;
    }
    const std::uint32_t index = found->second.index;
    hop_by_index_.erase(index);
    hops_.erase(found);
    table_.remove(index);
}

void shared_nexthops::release(std::uint32_t index)
{
    if (const auto found = hop_by_index_.find(index); found != hop_by_index_.end()) {
        release(found->second);
        return;
    }
    const auto found = group_by_index_.find(index);
    if (found == group_by_index_.end() || --found->second->second.users > 0) {
        return;
    }
    const group_map::iterator gone = found->second;
    group_by_index_.erase(found);
    table_.remove(index);
    const std::vector<share> shares = std::exchange(gone->second.shares, {});
    let_go(gone->second, shares);
    set_no_room(gone->second, false);
    groups_.erase(gone);
}

void shared_nexthops::refresh(hop_map::value_type &entry)
{
    hop &h = entry.second;
    const nexthop_state now = ask_.state(entry.first);
    const bool turned = now.active != h.now.active;
    if (!same(now.adj, h.now.adj)) {
        table_.replace(h.index, now.adj);
    }
    h.now = now;
    if (turned) {
        std::ranges::for_each(h.groups, [this](group *g) { publish(*g); });
    }
}

void shared_nexthops::refresh(int oif, const ip_addr &gateway)
{
    for (auto i = hops_.lower_bound({.oif = oif, .gateway = gateway});
         i != hops_.end() && i->first.oif == oif && i->first.gateway == gateway; ++i) {
        refresh(*i);
    }
}

void shared_nexthops::refresh(int oif, const net_device *dev)
{
    for (auto &entry : hops_) {
        if (entry.first.oif == oif || (dev && entry.second.now.adj.dev == dev)) {
            refresh(entry);
        }
    }
}

void shared_nexthops::refresh(std::uint8_t family)
{
    for (auto &entry : hops_) {
        if (entry.first.family == family) {
            refresh(entry);
        }
    }
}

// ---- groups ----

std::uint32_t shared_nexthops::acquire(const nexthop_group_key &key)
{
    auto found = groups_.find(key);
    if (found == groups_.end()) {
        const std::uint32_t index = table_.add(adjacency{});
        found = groups_.emplace(key, group{.index = index}).first;
        group_by_index_.emplace(index, found);
        fill(found->second, contents_of(key));
    }
    ++found->second.users;
    return found->second.index;
}

nexthop_contents shared_nexthops::contents_of(const nexthop_group_key &key) const
{
    return key.id != 0 ? ask_.contents(key) : nexthop_contents{{}, key.members};
}

/// Gives a group new members. The former ones are released only after publish(), when no bucket leads to them any more.
void shared_nexthops::fill(group &g, const nexthop_contents &contents)
{
    const std::vector<share> before = std::exchange(g.shares, {});
    g.fixed = contents.fixed;
    set_no_room(g, false);
    try {
        std::ranges::for_each(contents.members, [&](const nexthop_member &member) { take(g, member); });
    } catch (const error &) { // the former members would be wrong, and a part of the new ones, too
        let_go(g, std::exchange(g.shares, {}));
        g.fixed = adjacency{.punt = PUNT_TABLE_FULL};
        set_no_room(g, true);
    }
    publish(g);
    let_go(g, before);
}

void shared_nexthops::set_no_room(group &g, bool no_room)
{
    without_room_ += no_room;
    without_room_ -= std::exchange(g.no_room, no_room);
}

/// Adds a member. Throws `error` if the table is full.
void shared_nexthops::take(group &g, const nexthop_member &member)
{
    const auto found = find_or_make(member.hop);
    const auto known = std::ranges::find(g.shares, found, &share::hop);
    if (known != g.shares.end()) {
        known->weight += member.weight;
        return;
    }
    ++found->second.users;
    found->second.groups.insert(&g);
    g.shares.push_back({found, member.weight});
}

/// Releases former members of a group. Some of them may still be members.
void shared_nexthops::let_go(group &g, const std::vector<share> &shares)
{
    for (const share &s : shares) {
        const bool still = std::ranges::find(g.shares, s.hop, &share::hop) != g.shares.end();
        if (!still) {
            s.hop->second.groups.erase(&g);
        }
        release(s.hop);
    }
}

/// Publishes a group: distributes the buckets among the members that can take packets.
void shared_nexthops::publish(group &g)
{
    if (g.fixed || g.shares.empty()) {
        table_.replace(g.index, g.fixed.value_or(adjacency{}));
        return;
    }
    std::vector<bucket_claim> all, active;
    for (const share &s : g.shares) {
        all.push_back({s.hop->second.index, s.weight});
        if (s.hop->second.now.active) {
            active.push_back(all.back());
        }
    }
    if (active.empty()) {
        table_.alias(g.index, all.front().nexthop);
        return;
    }
    share_buckets(g.buckets, bucket_count(all), active);
    if (active.size() == 1) {
        table_.alias(g.index, active.front().nexthop);
        return;
    }
    nexthop_group published{.members = {}, .buckets = g.buckets};
    std::ranges::transform(active, std::back_inserter(published.members), &bucket_claim::nexthop);
    table_.replace(g.index, std::move(published));
}

void shared_nexthops::refresh_objects(const std::set<std::uint32_t> &ids)
{
    for (auto &[key, g] : groups_) {
        if (ids.contains(key.id)) {
            fill(g, ask_.contents(key));
        }
    }
}

void shared_nexthops::fill_up()
{
    for (auto &[key, g] : groups_) {
        if (without_room_ == 0) {
            return;
        }
        if (g.no_room) {
            fill(g, contents_of(key));
        }
    }
}

std::uint32_t shared_nexthops::users_without_room() const
{
    std::uint32_t users = 0;
    for (auto i = groups_.begin(); without_room_ > 0 && i != groups_.end(); ++i) {
        const group &g = i->second;
        users += g.no_room ? g.users : 0;
    }
    return users;
}

// ---- use ----

void shared_nexthops::spread_used_marks()
{
    for (auto &[key, g] : groups_) {
        if (table_.take_used(g.index)) {
            std::ranges::for_each(g.shares, [this](const share &s) { table_.mark_used(s.hop->second.index); });
        }
    }
}

void shared_nexthops::visit(const visitor &fn) const
{
    for (const auto &[key, shared] : hops_) {
        fn(shared.index, &key, shared.users);
    }
    for (const auto &[key, shared] : groups_) {
        fn(shared.index, nullptr, shared.users);
    }
}

void shared_nexthops::for_each_hop(const nexthop_key &after, const std::function<bool(const hop_info &)> &fn) const
{
    const auto middle = hops_.upper_bound(after);
    const auto call = [&](const auto &entry) {
        return fn({entry.first, entry.second.index, !entry.second.groups.empty()});
    };
    if (std::all_of(middle, hops_.end(), call)) {
        static_cast<void>(std::all_of(hops_.begin(), middle, call)); // ends where fn returns false
    }
}

} // namespace halfpoll
