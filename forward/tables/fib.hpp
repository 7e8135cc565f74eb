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

/// Longest-prefix match, prefix -> next-hop index (< 2^24), for IPv4: a table of 2^24 entries and groups of 256 for
/// longer prefixes (DIR-24-8; Gupta, Lin, McKeown 1998). One writer (control thread), any number of readers that are
/// never blocked: each entry is one aligned word, and a group is unlinked, then freed after a grace period, so that no
/// reader sees it reused. Throws `error` when full or out of memory.
/// The default route would have to be written into all entries that nothing longer covers. So it is not: lookups answer
/// `default_nexthop` whether there is a default route or not, and what that stands for is told to on_default().
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

    /// Adds or replaces. `addr` in host order; bits beyond `len` are ignored.
    void insert(std::uint32_t addr, unsigned len, std::uint32_t nexthop);
    /// There is room for the prefix: insert() does not throw for want of it.
    bool fits(std::uint32_t addr, unsigned len) const noexcept;
    /// Length of the longest prefix that covers this one, is not longer and takes no room: it is there to be written
    /// instead. Nothing between the two is in the table.
    unsigned reach(std::uint32_t addr, unsigned len) const noexcept;
    /// False if there is none.
    bool remove(std::uint32_t addr, unsigned len);
    /// Exact match; false if absent.
    bool find(std::uint32_t addr, unsigned len, std::uint32_t &nexthop) const;
    std::size_t size() const noexcept;
    /// Every prefix, in no particular order.
    void for_each(const std::function<void(std::uint32_t addr, unsigned len, std::uint32_t nexthop)> &fn) const;
    /// Called when the default route was inserted or removed (false). Optional.
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
    /// Data path. A lookup in steps, for a caller that puts other work between them: fetches what begin() reads.
    void prefetch(std::uint32_t addr) const noexcept { __builtin_prefetch(top_ + (addr >> 8)); }
    /// What begin() reads, by addr >> 8, for a caller that loads several entries with one instruction. Entries are
    /// aligned and loaded whole; what one points to is reached through its value, so that no other order is needed.
    const void *top() const noexcept { return top_; }
    /// Gives an entry: a next hop under `value_mask`, or something for finish() if `extended` is set.
    std::uint32_t begin(std::uint32_t addr) const noexcept
    {
        return top_[addr >> 8].load(std::memory_order_acquire); // pairs with the writer's release stores
    }
    /// The next hop, from an extended entry of the same address, before the reader's next quiescent state.
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

/// The same for IPv6: a trie of one 2^24 table and groups of 256 per further byte.
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
