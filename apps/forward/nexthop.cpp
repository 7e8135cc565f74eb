// SPDX-License-Identifier: BSD-3-Clause
#include "nexthop.hpp"

#include <halfpoll/error.hpp>

#include <string>

namespace halfpoll
{
namespace
{

constexpr unsigned eth_len = 14;

/// What readers see.
const adjacency *make_public(const adjacency &adj)
{
    adjacency *fresh = new adjacency(adj);
    const bool plain = adj.kind == adjacency_kind::forward && adj.rewrite_len == eth_len;
    fresh->plain_max = plain ? adj.mtu + eth_len : 0;
    return fresh;
}

} // namespace

nexthop_table::nexthop_table(std::function<void(std::function<void()>)> retire)
    : retire_(std::move(retire)), slots_(std::make_unique<std::atomic<const adjacency *>[]>(max_nexthops))
{
    free_.reserve(max_nexthops);
    slots_[no_route].store(new adjacency{}, std::memory_order_release); // pairs with get()
}

nexthop_table::~nexthop_table()
{
    const adjacency *const unused = get(no_route);
    for (std::uint32_t i = 1; i < used_; i++) {
        if (get(i) != unused) {
            delete get(i);
        }
    }
    delete unused;
}

std::uint32_t nexthop_table::add(const adjacency &adj)
{
    if (free_.empty() && used_ == max_nexthops) {
        throw error("next hops: all " + std::to_string(max_nexthops) + " are in use");
    }
    const adjacency *fresh = make_public(adj);
    std::uint32_t index = used_;
    if (free_.empty()) {
        used_++;
    } else {
        index = free_.back();
        free_.pop_back();
    }
    slots_[index].store(fresh, std::memory_order_release); // pairs with get()
    return index;
}

void nexthop_table::replace(std::uint32_t index, const adjacency &adj)
{
    const adjacency *fresh = make_public(adj);
    const adjacency *old = slots_[index].exchange(fresh, std::memory_order_acq_rel); // pairs with get()
    retire_([old] { delete old; });
}

void nexthop_table::remove(std::uint32_t index)
{
    // A reader that looked a prefix up just before still finds something to follow.
    const adjacency *old = slots_[index].exchange(get(no_route), std::memory_order_acq_rel); // pairs with get()
    retire_([this, index, old] {
        delete old;
        free_.push_back(index);
    });
}

} // namespace halfpoll
