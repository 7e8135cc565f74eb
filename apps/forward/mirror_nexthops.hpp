// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "ip_prefix.hpp"
#include "nexthop.hpp"

#include <compare>
#include <cstdint>
#include <functional>
#include <map>
#include <unordered_map>

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

/// Next hops shared by all prefixes that use them, so that a change of a neighbour or a link is one store for all.
class shared_nexthops
{
public:
    /// `make` answers what to do with packets for a key, as things stand.
    shared_nexthops(nexthop_table &table, std::function<adjacency(const nexthop_key &)> make)
        : table_(table), make_(std::move(make))
    {
    }

    /// One more user; the index. Throws `error` if the table is full.
    std::uint32_t acquire(const nexthop_key &key);
    /// One user less; unknown indices are nobody's.
    void release(std::uint32_t index);
    /// What `make` answers may have changed for one neighbour.
    void refresh(int oif, const ip_addr &gateway);
    /// … for an interface, or whatever sends out of a device (null: none).
    void refresh(int oif, const net_device *dev);

private:
    struct object {
        std::uint32_t index = 0;
        std::uint32_t users = 0;
        adjacency now;
    };
    using map = std::map<nexthop_key, object>;
    void refresh(map::value_type &entry);

    nexthop_table &table_;
    std::function<adjacency(const nexthop_key &)> make_;
    map objects_;
    std::unordered_map<std::uint32_t, map::iterator> by_index_;
};

} // namespace halfpoll
