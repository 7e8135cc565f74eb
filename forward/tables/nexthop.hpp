// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/net_device.hpp>
#include <halfpoll/slow_path.hpp>

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

namespace halfpoll
{

/// What to do with a packet whose prefix points here.
enum class adjacency_kind : std::uint8_t {
    forward, ///< rewrite and send
    punt,    ///< to the shadow, under `punt`
    drop,    ///< counted under `drop`
    group,   ///< one of several, by flow: nexthop_table::member()
};

struct nexthop_group;

/// One cache line that turns a packet into a sent one. Immutable once published.
struct alignas(64) adjacency {
    adjacency_kind kind = adjacency_kind::punt;
    std::uint8_t rewrite_len = 14;     ///< 14 untagged, 18 VLAN, 22 QinQ
    std::uint8_t punt = PUNT_NO_ROUTE; ///< punt_class
    std::uint8_t drop = 0;             ///< drop reason
    ifindex_t ifindex = 0;             ///< egress
    std::uint16_t mtu = 0;             ///< layer-3 bytes the egress takes
    /// Bytes of a frame that may be sent with nothing but the rewrite of 14 bytes; 0 unless `kind` is forward,
    /// untagged. nexthop_table fills it in.
    std::uint32_t plain_max = 0;
    std::uint32_t oif = 0; ///< kernel ifindex of the interface (port or VLAN) that the route names; 0: not known
    net_device *dev = nullptr;
    const nexthop_group *group = nullptr; ///< of kind `group`; nexthop_table fills it in
    /// The link header as it leaves. For 14 bytes it is blended into one 16-byte store; aligned to be that store's
    /// operand.
    alignas(16) std::uint8_t rewrite[24] = {};
};
static_assert(sizeof(adjacency) == 64);

/// Next hops that share the flows of a prefix. Each bucket holds one of them and takes the flows that hash to it, so
/// that a change moves the flows of those buckets only that change hands. Immutable once published.
struct nexthop_group {
    std::vector<std::uint32_t> members; ///< indices, distinct; none is a group
    std::vector<std::uint32_t> buckets; ///< a power of two of them
};

/// Next hops as objects: the FIB maps a prefix to an index, the index to an adjacency. Replacing one adjacency moves
/// all prefixes that share it. Readers are the data cores (RCU); the writer is the control thread.
class nexthop_table
{
public:
    /// Always there: what addresses meet that no IPv4 prefix but the default route covers. Alias of no_route, or of the
    /// default route's next hop, so that a new default route is one store and not one per entry of the table. It is
    /// what untouched memory of that table says.
    static constexpr std::uint32_t default4 = 0;
    static constexpr std::uint32_t no_route = 1; ///< always there: punts as PUNT_NO_ROUTE
    static constexpr std::uint32_t max_nexthops = 1U << 16;

    /// `retire` frees something after a grace period; it must not run its argument before, and in order.
    /// `capacity`: of the 2 that are always there and those that add() makes.
    explicit nexthop_table(std::function<void(std::function<void()>)> retire, std::uint32_t capacity = max_nexthops);
    ~nexthop_table();
    nexthop_table(const nexthop_table &) = delete;
    nexthop_table &operator=(const nexthop_table &) = delete;

    std::uint32_t add(const adjacency &adj); ///< throws `error` when full
    void replace(std::uint32_t index, const adjacency &adj);
    void replace(std::uint32_t index, nexthop_group group);
    /// From now on `index` does what `target` does, through all its changes. No circles.
    void alias(std::uint32_t index, std::uint32_t target);
    /// No prefix, group or alias may point to it any more. Readers that met the index before still follow it; it is
    /// used again after a grace period.
    void remove(std::uint32_t index);
    /// Whether a packet was seen to go this way, or by an alias, since the last call: see mark_used().
    bool take_used(std::uint32_t index) noexcept;

    /// Data path: valid until the reader's next quiescent state.
    const adjacency *get(std::uint32_t index) const noexcept
    {
        return slots_[index].load(std::memory_order_acquire); // pairs with the release store in publish()
    }
    /// Data path: the member of a group that takes this flow.
    const adjacency &member(const adjacency &group, std::uint32_t flow_hash) const noexcept
    {
        const std::vector<std::uint32_t> &buckets = group.group->buckets;
        return *get(buckets[flow_hash & (buckets.size() - 1)]);
    }
    /// Data path, for a sample of the packets: so that the control thread keeps neighbours in use fresh.
    void mark_used(std::uint32_t index) const noexcept
    {
        if (used_[index].load(std::memory_order_relaxed) == 0) { // the line stays shared between CPUs
            used_[index].store(1, std::memory_order_relaxed);
        }
    }

private:
    struct object;
    /// The control thread's side of a slot.
    struct entry {
        std::shared_ptr<const object> own;  ///< null: an alias
        std::uint32_t target = no_route;    ///< of an alias
        std::vector<std::uint32_t> aliases; ///< that show this one
    };
    void set(std::uint32_t index, std::shared_ptr<const object> own, std::uint32_t target);
    void publish(std::uint32_t index);

    std::function<void(std::function<void()>)> retire_;
    std::uint32_t capacity_;
    std::unique_ptr<std::atomic<const adjacency *>[]> slots_;
    std::unique_ptr<std::atomic<std::uint8_t>[]> used_;
    std::vector<entry> entries_;
    std::vector<std::uint32_t> free_;
};

} // namespace halfpoll
