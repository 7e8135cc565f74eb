// SPDX-License-Identifier: BSD-3-Clause
#include "mirror_nexthops.hpp"

#include <algorithm>
#include <iterator>

namespace halfpoll
{

namespace
{
bool same(const adjacency &a, const adjacency &b)
{
    return a.kind == b.kind && a.rewrite_len == b.rewrite_len && a.punt == b.punt && a.drop == b.drop &&
           a.ifindex == b.ifindex && a.mtu == b.mtu && a.dev == b.dev && std::ranges::equal(a.rewrite, b.rewrite);
}
} // namespace

std::uint32_t shared_nexthops::acquire(const nexthop_key &key)
{
    auto found = objects_.find(key);
    if (found == objects_.end()) {
        object made;
        made.now = make_(key);
        made.index = table_.add(made.now);
        found = objects_.emplace(key, made).first;
        by_index_.emplace(made.index, found);
    }
    ++found->second.users;
    return found->second.index;
}

void shared_nexthops::release(std::uint32_t index)
{
    const auto found = by_index_.find(index);
    if (found == by_index_.end() || --found->second->second.users > 0) {
        return;
    }
    objects_.erase(found->second);
    by_index_.erase(found);
    table_.remove(index);
}

void shared_nexthops::refresh(map::value_type &entry)
{
    const adjacency now = make_(entry.first);
    if (!same(now, entry.second.now)) {
        table_.replace(entry.second.index, now);
        entry.second.now = now;
    }
}

void shared_nexthops::refresh(int oif, const ip_addr &gateway)
{
    for (auto i = objects_.lower_bound({.oif = oif, .gateway = gateway});
         i != objects_.end() && i->first.oif == oif && i->first.gateway == gateway; ++i) {
        refresh(*i);
    }
}

void shared_nexthops::refresh(int oif, const net_device *dev)
{
    for (auto &entry : objects_) {
        if (entry.first.oif == oif || (dev && entry.second.now.dev == dev)) {
            refresh(entry);
        }
    }
}

} // namespace halfpoll
