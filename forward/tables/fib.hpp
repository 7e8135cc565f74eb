// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

namespace halfpoll
{

/// An IPv6 address in network order.
using ip6_addr = std::array<std::uint8_t, 16>;

/// Longest-prefix match for IPv4, from a prefix to a next-hop index (< 2^24): a table of 2^24 entries, and groups of
/// 256 for longer prefixes (DIR-24-8; Gupta, Lin, McKeown 1998). One writer (control thread) and any number of readers,
/// which never block: each entry is one aligned word, and a group is unlinked first and freed after a grace period, so
/// that no reader sees it reused. Throws `error` when full or out of memory.
/// The default route is not written into the table: it would have to be stored in each entry that no longer prefix
/// covers. Instead, lookups return `default_nexthop` for those entries, with or without a default route, and
/// `on_default` is called with the next hop that it stands for.
class fib4
{
public:
    /// `retire`: see nexthop_table. `max_groups` bounds memory (1 KiB a group).
    fib4(std::function<void(std::function<void()>)> retire, std::uint32_t default_nexthop = 0,
         unsigned max_groups = default_groups);
    static constexpr unsigned default_groups = 1U << 16;
    ~fib4();
    fib4(const fib4 &) = delete;
    fib4 &operator=(const fib4 &) = delete;

    /// Adds a prefix or replaces its next hop. `addr` in host order; bits beyond `len` are ignored.
    void insert(std::uint32_t addr, unsigned len, std::uint32_t nexthop);
    /// True if there is room for the prefix: insert() then does not throw for lack of a group.
    bool fits(std::uint32_t addr, unsigned len) const noexcept;
    /// Length of the longest prefix, at most `len` bits, that covers this one and needs no new group: a caller without
    /// room can insert that prefix instead. The table holds no prefix of a length between the two.
    unsigned reach(std::uint32_t addr, unsigned len) const noexcept;
    /// Returns false if the prefix is not in the table.
    bool remove(std::uint32_t addr, unsigned len);
    /// Exact match; false if absent.
    bool find(std::uint32_t addr, unsigned len, std::uint32_t &nexthop) const;
    std::size_t size() const noexcept;
    /// Calls `fn` for every prefix, in no particular order.
    void for_each(const std::function<void(std::uint32_t addr, unsigned len, std::uint32_t nexthop)> &fn) const;
    /// Called after the default route was inserted (`exists`) or removed. Optional.
    std::function<void(bool exists, std::uint32_t nexthop)> on_default;

    /// Data path. Addresses in host order.
    std::uint32_t lookup(std::uint32_t addr) const noexcept
    {
        const std::uint32_t entry = begin(addr);
        return entry & extended ? finish(entry, addr) : entry & value_mask;
    }
    void lookup_bulk(const std::uint32_t *addrs, std::uint32_t *nexthops, unsigned n) const noexcept
    {
        for (unsigned i = 0; i < n; i++) {
            nexthops[i] = lookup(addrs[i]);
        }
    }
    /// Data path. Lookup in steps, for a caller that does other work between them. prefetch() fetches the entry that
    /// begin() reads.
    void prefetch(std::uint32_t addr) const noexcept { __builtin_prefetch(top_ + (addr >> 8)); }
    /// The entries that begin() reads, indexed by addr >> 8, for a caller that loads several entries with one
    /// instruction. Each entry is aligned and loaded whole. A group is reached through the loaded value (address
    /// dependency), so that no further ordering is needed.
    const void *top() const noexcept { return top_; }
    /// Returns an entry: a next hop under `value_mask`, or, if `extended` is set, the argument of finish().
    std::uint32_t begin(std::uint32_t addr) const noexcept
    {
        return top_[addr >> 8].load(std::memory_order_acquire); // pairs with the writer's release stores
    }
    /// Returns the next hop for an extended entry of the same address. Called before the reader's next quiescent state.
    std::uint32_t finish(std::uint32_t entry, std::uint32_t addr) const noexcept
    {
        // Acquire: pairs with the writer's release stores.
        return groups_[(entry & value_mask) * std::size_t{256} + (addr & 255)].load(std::memory_order_acquire) &
               value_mask;
    }
    static constexpr std::uint32_t extended = 1U << 31;
    static constexpr std::uint32_t value_mask = (1U << 24) - 1;

private:
    void tell_default(bool exists, std::uint32_t nexthop) const;

    struct impl;
    std::unique_ptr<impl> impl_;
    const std::atomic<std::uint32_t> *top_, *groups_;
};

/// As fib4, for IPv6: a trie of one table of 2^24 entries and one group of 256 entries for each further byte.
class fib6
{
public:
    fib6(std::function<void(std::function<void()>)> retire, std::uint32_t default_nexthop = 0,
         unsigned max_groups = default_groups);
    static constexpr unsigned default_groups = 1U << 18;
    ~fib6();
    fib6(const fib6 &) = delete;
    fib6 &operator=(const fib6 &) = delete;

    void insert(const ip6_addr &addr, unsigned len, std::uint32_t nexthop);
    bool fits(const ip6_addr &addr, unsigned len) const;
    unsigned reach(const ip6_addr &addr, unsigned len) const;
    bool remove(const ip6_addr &addr, unsigned len);
    bool find(const ip6_addr &addr, unsigned len, std::uint32_t &nexthop) const;
    std::size_t size() const noexcept;
    void for_each(const std::function<void(const ip6_addr &addr, unsigned len, std::uint32_t nexthop)> &fn) const;

    void lookup_bulk(const ip6_addr *addrs, std::uint32_t *nexthops, unsigned n) const noexcept;
    std::uint32_t lookup(const ip6_addr &addr) const noexcept;

private:
    struct impl;
    std::unique_ptr<impl> impl_;
};

} // namespace halfpoll
