// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "multipath_policy.hpp"

#include <halfpoll/net_device.hpp>
#include <halfpoll/slow_path.hpp>

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

namespace halfpoll
{

/// Decision for the packets of the prefixes that point here.
enum class adjacency_kind : std::uint8_t {
    forward, ///< rewrite and send
    punt,    ///< to the shadow, under `punt`
    drop,    ///< counted under `drop`
    group,   ///< one of several next hops, chosen by flow: nexthop_table::member()
};

struct nexthop_group;

/// Everything that the transmission of a packet needs, in one cache line. Immutable once published.
struct alignas(64) adjacency {
    adjacency_kind kind = adjacency_kind::punt;
    std::uint8_t rewrite_len = 14;     ///< 14 untagged, 18 VLAN, 22 QinQ
    std::uint8_t punt = PUNT_NO_ROUTE; ///< punt_class
    std::uint8_t drop = 0;             ///< drop reason
    ifindex_t ifindex = 0;             ///< egress device
    std::uint16_t mtu = 0;             ///< largest layer-3 packet in bytes that the egress takes
    /// Longest frame, in bytes, for which the 14-byte rewrite is all that is needed. 0 unless `kind` is forward and the
    /// header is untagged. nexthop_table sets it.
    std::uint32_t plain_max = 0;
    std::uint32_t oif = 0; ///< kernel ifindex of the interface (port or VLAN) that the route names; 0: unknown
    net_device *dev = nullptr;
    const nexthop_group *group = nullptr; ///< of kind `group` only; nexthop_table sets it
    /// The link header as it is sent. A header of 14 bytes is blended into one 16-byte store; the alignment lets it be
    /// that store's operand.
    alignas(16) std::uint8_t rewrite[24] = {};
};
static_assert(sizeof(adjacency) == 64);

/// Next hops that share the flows of a prefix. Each bucket holds one next hop, which gets the flows that hash to the
/// bucket, so that a change moves only the flows of the buckets that it reassigns. Immutable once published.
struct nexthop_group {
    std::vector<std::uint32_t> members; ///< indices, distinct, never of another group
    std::vector<std::uint32_t> buckets; ///< their number is a power of two
};

/// Next hops as objects: the FIB maps a prefix to an index, and this table maps the index to an adjacency. Replacing
/// one adjacency moves all prefixes that share it. The data CPUs read (RCU); the control thread is the only writer.
class nexthop_table
{
public:
    /// Always present: the next hop of addresses that no IPv4 prefix except the default route covers. It is an alias of
    /// no_route or of the default route's next hop, so that a new default route costs one store and not one store per
    /// table entry. Its value is 0, since the untouched memory of the IPv4 table is zero.
    static constexpr std::uint32_t default4 = 0;
    static constexpr std::uint32_t no_route = 1; ///< always present: punts as PUNT_NO_ROUTE
    static constexpr std::uint32_t max_nexthops = 1U << 16;

    /// `retire` runs its argument after a grace period, never earlier, and in the order of the calls. `capacity` counts
    /// the 2 indices that are always present and those that add() returns.
    explicit nexthop_table(std::function<void(std::function<void()>)> retire, std::uint32_t capacity = max_nexthops);
    ~nexthop_table();
    nexthop_table(const nexthop_table &) = delete;
    nexthop_table &operator=(const nexthop_table &) = delete;

    std::uint32_t add(const adjacency &adj); ///< throws `error` when full
    void replace(std::uint32_t index, const adjacency &adj);
    void replace(std::uint32_t index, nexthop_group group);
    /// From now on `index` does what `target` does, including all its later changes. Aliases never form a cycle.
    void alias(std::uint32_t index, std::uint32_t target);
    /// The caller guarantees that no prefix, group or alias points to `index` any more. Readers that loaded the index
    /// before still follow it; the index is reused after a grace period.
    void remove(std::uint32_t index);
    /// True if a packet was marked as sent by this next hop, or by an alias of it, since the last call: see
    /// mark_used().
    bool take_used(std::uint32_t index) noexcept;

    /// Data path: valid until the reader's next quiescent state.
    const adjacency *get(std::uint32_t index) const noexcept
    {
        return slots_[index].load(std::memory_order_acquire); // pairs with the release store in publish()
    }
    /// Data path: the member of `group` that takes this flow.
    const adjacency &member(const adjacency &group, std::uint32_t flow_hash) const noexcept
    {
        const std::vector<std::uint32_t> &buckets = group.group->buckets;
        return *get(buckets[flow_hash & (buckets.size() - 1)]);
    }
    /// Says what makes a flow, for the groups of a family. Control thread.
    void set_multipath4(multipath_policy policy) noexcept { multipath4_.store(policy, std::memory_order_relaxed); }
    void set_multipath6(multipath_policy policy) noexcept { multipath6_.store(policy, std::memory_order_relaxed); }
    /// Data path, for packets whose next hop is a group.
    multipath_policy multipath4() const noexcept { return multipath4_.load(std::memory_order_relaxed); }
    multipath_policy multipath6() const noexcept { return multipath6_.load(std::memory_order_relaxed); }
    /// Data path, for a sample of the packets: the control thread keeps the neighbours fresh that are marked.
    void mark_used(std::uint32_t index) const noexcept
    {
        // Without a store the cache line stays shared between CPUs.
        if (used_[index].load(std::memory_order_relaxed) == 0) {
            used_[index].store(1, std::memory_order_relaxed);
        }
    }

private:
    struct object;
    /// The control thread's data about a slot.
    struct entry {
        std::shared_ptr<const object> own;  ///< null: the index is an alias
        std::uint32_t target = no_route;    ///< target of an alias
        std::vector<std::uint32_t> aliases; ///< indices that are aliases of this one
    };
    void set(std::uint32_t index, std::shared_ptr<const object> own, std::uint32_t target);
    void publish(std::uint32_t index);

    std::function<void(std::function<void()>)> retire_;
    std::uint32_t capacity_;
    std::unique_ptr<std::atomic<const adjacency *>[]> slots_;
    std::unique_ptr<std::atomic<std::uint8_t>[]> used_;
    // Relaxed on both sides: the value is whole, and nothing else is published with it.
    std::atomic<multipath_policy> multipath4_{}, multipath6_{};
    static_assert(std::atomic<multipath_policy>::is_always_lock_free);
    std::vector<entry> entries_;
    std::vector<std::uint32_t> free_;
};

} // namespace halfpoll
