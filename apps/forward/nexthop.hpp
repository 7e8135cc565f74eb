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
};

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
    net_device *dev = nullptr;
    /// The link header as it leaves. For 14 bytes it is blended into one 16-byte store.
    std::uint8_t rewrite[24] = {};
};
static_assert(sizeof(adjacency) == 64);

/// Next hops as objects: the FIB maps a prefix to an index, the index to an adjacency. Replacing one adjacency moves
/// all prefixes that share it. Readers are the data cores (RCU); the writer is the control thread.
class nexthop_table
{
public:
    static constexpr std::uint32_t no_route = 0; ///< always there: punts as PUNT_NO_ROUTE
    static constexpr std::uint32_t max_nexthops = 1U << 16;

    /// `retire` frees something after a grace period; it must not run its argument before.
    explicit nexthop_table(std::function<void(std::function<void()>)> retire);
    ~nexthop_table();
    nexthop_table(const nexthop_table &) = delete;
    nexthop_table &operator=(const nexthop_table &) = delete;

    std::uint32_t add(const adjacency &adj); ///< throws `error` when full
    void replace(std::uint32_t index, const adjacency &adj);
    /// The index may be used again after a grace period; no prefix may point to it any more.
    void remove(std::uint32_t index);

    /// Data path: valid until the reader's next quiescent state.
    const adjacency *get(std::uint32_t index) const noexcept
    {
        return slots_[index].load(std::memory_order_acquire); // pairs with the release stores in add() and replace()
    }

private:
    std::function<void(std::function<void()>)> retire_;
    std::unique_ptr<std::atomic<const adjacency *>[]> slots_;
    std::vector<std::uint32_t> free_;
    std::uint32_t used_ = 1;
};

} // namespace halfpoll
