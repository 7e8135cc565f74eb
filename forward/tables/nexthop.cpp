// SPDX-License-Identifier: BSD-3-Clause
#include "nexthop.hpp"

#include <halfpoll/error.hpp>

#include <string>
#include <utility>

namespace halfpoll
{

/// The object that a slot points to. One index owns it; the slots of its aliases point to it, too.
struct nexthop_table::object {
    explicit object(const adjacency &a) : adj(a)
    {
        constexpr unsigned eth_len = 14;
        const bool plain = a.kind == adjacency_kind::forward && a.rewrite_len == eth_len;
        adj.plain_max = plain ? a.mtu + eth_len : 0;
    }
    explicit object(nexthop_group g) : group(std::move(g))
    {
        adj.kind = adjacency_kind::group;
        adj.group = &group;
    }
    object(const object &) = delete;
    object &operator=(const object &) = delete;

    adjacency adj;
    nexthop_group group;
};

nexthop_table::nexthop_table(std::function<void(std::function<void()>)> retire, std::uint32_t capacity)
    : retire_(std::move(retire)), capacity_(capacity),
      slots_(std::make_unique<std::atomic<const adjacency *>[]>(max_nexthops)),
      used_(std::make_unique<std::atomic<std::uint8_t>[]>(max_nexthops)), entries_(2)
{
    free_.reserve(capacity);
    set(no_route, std::make_shared<object>(adjacency{}), no_route);
    alias(default4, no_route);
}

nexthop_table::~nexthop_table() = default;

std::uint32_t nexthop_table::add(const adjacency &adj)
{
    auto fresh = std::make_shared<object>(adj);
    std::uint32_t index = static_cast<std::uint32_t>(entries_.size());
    if (!free_.empty()) {
        index = free_.back();
        free_.pop_back();
    } else if (index == capacity_) {
        throw error("next hops: all " + std::to_string(capacity_) + " are in use");
    } else {
        entries_.emplace_back();
    }
    used_[index].store(0, std::memory_order_relaxed);
    set(index, std::move(fresh), no_route);
    return index;
}

void nexthop_table::replace(std::uint32_t index, const adjacency &adj)
{
    set(index, std::make_shared<object>(adj), no_route);
}

void nexthop_table::replace(std::uint32_t index, nexthop_group group)
{
    set(index, std::make_shared<object>(std::move(group)), no_route);
}

void nexthop_table::alias(std::uint32_t index, std::uint32_t target) { set(index, nullptr, target); }

void nexthop_table::remove(std::uint32_t index)
{
    if (!entries_[index].own) {
        std::erase(entries_[entries_[index].target].aliases, index);
    }
    retire_([this, index] {
        slots_[index].store(get(no_route), std::memory_order_release); // pairs with get()
        entries_[index] = {};
        free_.push_back(index);
    });
}

bool nexthop_table::take_used(std::uint32_t index) noexcept
{
    bool used = used_[index].exchange(0, std::memory_order_relaxed) != 0; // a hint: no other data depends on it
    for (const std::uint32_t follower : entries_[index].aliases) {
        used |= take_used(follower);
    }
    return used;
}

void nexthop_table::set(std::uint32_t index, std::shared_ptr<const object> own, std::uint32_t target)
{
    entry &e = entries_[index];
    const bool was_alias = !e.own && slots_[index].load(std::memory_order_relaxed) != nullptr;
    if (was_alias) {
        std::erase(entries_[e.target].aliases, index);
    }
    const std::shared_ptr<const object> old = std::exchange(e.own, std::move(own));
    e.target = target;
    if (!e.own) {
        entries_[target].aliases.push_back(index);
    }
    publish(index);
    if (old) {
        retire_([old] {});
    }
}

/// Stores the present object of an index into its slot and into the slots of its aliases.
void nexthop_table::publish(std::uint32_t index)
{
    const entry &e = entries_[index];
    const adjacency *adj = e.own ? &e.own->adj : slots_[e.target].load(std::memory_order_relaxed);
    slots_[index].store(adj, std::memory_order_release); // pairs with get()
    for (const std::uint32_t follower : e.aliases) {
        publish(follower);
    }
}

} // namespace halfpoll
