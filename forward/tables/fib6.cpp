// SPDX-License-Identifier: BSD-3-Clause
#include "fib.hpp"
#include "table_memory.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <string>
#include <unordered_map>
#include <vector>

namespace halfpoll
{
namespace
{

// An entry holds the longest prefix that ends in its own node, and the link to longer ones: bits 0-23 next hop, bits
// 24-28 number of prefix bits within the node (0: no prefix ends here), bits 32-55 group of the next byte (0: none). So
// an update touches one node only, whatever is below it, and a lookup remembers the last prefix that it passed.
constexpr std::uint64_t nexthop_mask = (1U << 24) - 1;
constexpr unsigned depth_shift = 24;
constexpr std::uint64_t depth_mask = 0x1F;
constexpr unsigned child_shift = 32;
constexpr std::size_t top_entries = 1U << 24;
constexpr std::size_t group_entries = 256;
constexpr unsigned top_bytes = 3;

constexpr unsigned depth_of(std::uint64_t e) { return (e >> depth_shift) & depth_mask; }
constexpr std::uint32_t child_of(std::uint64_t e) { return static_cast<std::uint32_t>(e >> child_shift); }
constexpr std::uint64_t make_entry(std::uint64_t depth, std::uint32_t nexthop)
{
    return depth << depth_shift | nexthop;
}
constexpr std::uint64_t with_child(std::uint64_t e, std::uint64_t child)
{
    return (e & 0xFFFFFFFFU) | child << child_shift;
}

std::size_t top_index(const ip6_addr &a) { return std::size_t{a[0]} << 16 | a[1] << 8 | a[2]; }

struct prefix {
    ip6_addr addr;
    std::uint8_t len;
    bool operator==(const prefix &) const = default;
};

struct prefix_hash {
    std::size_t operator()(const prefix &p) const noexcept
    {
        std::uint64_t half[2];
        std::memcpy(half, p.addr.data(), sizeof half);
        std::uint64_t h = (half[0] ^ p.len) * 0x9E3779B97F4A7C15ULL;
        h = (h ^ h >> 32 ^ half[1]) * 0xC2B2AE3D27D4EB4FULL;
        return h ^ h >> 29;
    }
};

prefix make_prefix(const ip6_addr &addr, unsigned len)
{
    prefix p{addr, static_cast<std::uint8_t>(len)};
    for (unsigned i = 0; i < 16; i++) {
        const unsigned bits = len > i * 8 ? std::min(len - i * 8, 8U) : 0;
        p.addr[i] &= static_cast<std::uint8_t>(0xFF00U >> bits);
    }
    return p;
}

/// Index of the address byte that a prefix ends in; for a prefix within the top table, the top table's last byte.
unsigned last_byte(unsigned len) { return len <= top_bytes * 8 ? top_bytes - 1 : (len - 1) / 8; }
/// Number of address bits before the node that a prefix ends in.
unsigned node_base(unsigned len) { return len <= top_bytes * 8 ? 0 : (len - 1) / 8 * 8; }

} // namespace

struct fib6::impl {
    using entry = std::atomic<std::uint64_t>;

    impl(std::function<void(std::function<void()>)> retire_fn, std::uint32_t nexthop, unsigned groups_max)
        : memory((top_entries + (std::size_t{groups_max} + 1) * group_entries) * sizeof(entry),
                 "IPv6 forwarding table"),
          top(static_cast<entry *>(memory.data())), groups(top + top_entries), max_groups(groups_max),
          no_route(nexthop), default_route(nexthop), retire(std::move(retire_fn)), in_use(groups_max + 1)
    {
        free_groups.reserve(groups_max);
    }

    entry *group(std::uint32_t g) const noexcept { return groups + std::size_t{g} * group_entries; }

    /// The entries on the path to the node that the prefix ends in, top table first.
    struct way {
        entry *slot[16];
        unsigned steps = 0; ///< number of entries in `slot`; the child of each leads to the next
    };

    way walk(const prefix &p) const noexcept
    {
        way w;
        entry *slot = &top[top_index(p.addr)];
        for (unsigned byte = top_bytes - 1; byte < last_byte(p.len); byte++) {
            w.slot[w.steps++] = slot;
            const std::uint32_t child = child_of(slot->load(std::memory_order_relaxed));
            if (child == 0) {
                return w;
            }
            slot = &group(child)[p.addr[byte + 1]];
        }
        return w;
    }

    unsigned groups_free() const noexcept
    {
        return max_groups - used_groups + static_cast<unsigned>(free_groups.size());
    }

    std::uint32_t take_group() noexcept
    {
        if (free_groups.empty()) {
            return ++used_groups;
        }
        const std::uint32_t g = free_groups.back();
        free_groups.pop_back();
        for (entry *e = group(g); e != group(g) + group_entries; e++) {
            e->store(0, std::memory_order_relaxed);
        }
        return g;
    }

    /// Returns the prefix's first entry in its node and creates the groups on the path. Group number 0 means no group.
    entry *make_way(const prefix &p) noexcept
    {
        entry *slot = &top[top_index(p.addr)];
        std::uint32_t parent = 0;
        for (unsigned byte = top_bytes; byte <= last_byte(p.len); byte++) {
            std::uint64_t e = slot->load(std::memory_order_relaxed);
            if (child_of(e) == 0) {
                e = with_child(e, take_group());
                slot->store(e, std::memory_order_release); // pairs with the acquire loads of the lookups
                in_use[parent]++;
            }
            parent = child_of(e);
            slot = &group(parent)[p.addr[byte]];
        }
        return slot;
    }

    std::uint32_t group_of(const way &w) const noexcept
    {
        return w.steps ? child_of(w.slot[w.steps - 1]->load(std::memory_order_relaxed)) : 0;
    }

    /// Number of groups that an insertion of `p` has to create.
    unsigned groups_wanted(const prefix &p) const noexcept
    {
        const way w = walk(p);
        return last_byte(p.len) - (top_bytes - 1) - w.steps + (w.steps > 0 && group_of(w) == 0);
    }

    entry *first_entry(const prefix &p, const way &w) const noexcept
    {
        return w.steps ? &group(group_of(w))[p.addr[last_byte(p.len)]] : &top[top_index(p.addr)];
    }

    /// Writes prefix length and next hop into each entry of the node that no longer prefix than this one holds.
    static void paint(entry *first, const prefix &p, std::uint64_t value) noexcept
    {
        const unsigned depth = p.len - node_base(p.len);
        const unsigned width = p.len <= top_bytes * 8 ? top_bytes * 8 : 8;
        for (entry *e = first; e != first + (std::size_t{1} << (width - depth)); e++) {
            const std::uint64_t was = e->load(std::memory_order_relaxed);
            if (depth_of(was) <= depth) {
                // Pairs with the acquire loads of the lookups.
                e->store(with_child(value, child_of(was)), std::memory_order_release);
            }
        }
    }

    /// Entry of the longest shorter prefix that ends in the same node.
    std::uint64_t cover(const prefix &p) const
    {
        for (unsigned len = p.len - 1U; len > node_base(p.len); len--) {
            if (auto it = prefixes.find(make_prefix(p.addr, len)); it != prefixes.end()) {
                return make_entry(len - node_base(p.len), it->second);
            }
        }
        return 0;
    }

    /// Removes groups that have become empty, the deepest first.
    void prune(const way &w)
    {
        for (unsigned i = w.steps; i-- > 0;) {
            const std::uint64_t e = w.slot[i]->load(std::memory_order_relaxed);
            const std::uint32_t g = child_of(e);
            if (in_use[g] != 0) {
                return;
            }
            // Pairs with the acquire loads of the lookups.
            w.slot[i]->store(with_child(e, 0), std::memory_order_release);
            retire([this, g] { free_groups.push_back(g); });
            if (i > 0) {
                in_use[child_of(w.slot[i - 1]->load(std::memory_order_relaxed))]--;
            } else {
                in_use[0]--;
            }
        }
    }

    table_memory memory;
    entry *top;    ///< indexed by the first three bytes
    entry *groups; ///< of 256 entries, indexed by one further byte each; group 0 is unused
    unsigned max_groups;
    std::uint32_t no_route;
    std::atomic<std::uint32_t> default_route; ///< next hop of ::/0; relaxed: no other data depends on it
    std::function<void(std::function<void()>)> retire;

    // The fields below belong to the writer.
    unsigned used_groups = 0;
    std::vector<std::uint32_t> free_groups;
    std::vector<std::uint32_t> in_use; ///< per group: number of prefixes that end in it and of groups below it
    std::unordered_map<prefix, std::uint32_t, prefix_hash> prefixes;
};

fib6::fib6(std::function<void(std::function<void()>)> retire, std::uint32_t default_nexthop, unsigned max_groups)
    : impl_(std::make_unique<impl>(std::move(retire), default_nexthop, max_groups))
{
}

fib6::~fib6() = default;

void fib6::insert(const ip6_addr &addr, unsigned len, std::uint32_t nexthop)
{
    impl &f = *impl_;
    if (len > 128 || nexthop > nexthop_mask) {
        throw error("IPv6 route: prefix length " + std::to_string(len) + " or next hop " + std::to_string(nexthop) +
                    " out of range");
    }
    const prefix p = make_prefix(addr, len);
    if (f.groups_wanted(p) > f.groups_free()) {
        throw error("IPv6 route of length /" + std::to_string(len) + ": all " + std::to_string(f.max_groups) +
                    " groups for prefixes longer than /24 are in use");
    }
    const bool fresh = f.prefixes.insert_or_assign(p, nexthop).second;
    if (len == 0) {
        f.default_route.store(nexthop, std::memory_order_relaxed);
        return;
    }
    impl::entry *first = f.make_way(p);
    f.in_use[f.group_of(f.walk(p))] += fresh;
    impl::paint(first, p, make_entry(len - node_base(len), nexthop));
}

bool fib6::fits(const ip6_addr &addr, unsigned len) const
{
    return impl_->groups_wanted(make_prefix(addr, len)) <= impl_->groups_free();
}

unsigned fib6::reach(const ip6_addr &addr, unsigned len) const
{
    const unsigned missing = impl_->groups_wanted(make_prefix(addr, len));
    return missing == 0 ? len : (last_byte(len) + 1 - missing) * 8;
}

bool fib6::remove(const ip6_addr &addr, unsigned len)
{
    impl &f = *impl_;
    if (len > 128) {
        return false;
    }
    const prefix p = make_prefix(addr, len);
    if (f.prefixes.erase(p) == 0) {
        return false;
    }
    if (len == 0) {
        f.default_route.store(f.no_route, std::memory_order_relaxed);
        return true;
    }
    const impl::way w = f.walk(p);
    impl::paint(f.first_entry(p, w), p, f.cover(p));
    f.in_use[f.group_of(w)]--;
    f.prune(w);
    return true;
}

bool fib6::find(const ip6_addr &addr, unsigned len, std::uint32_t &nexthop) const
{
    if (len > 128) {
        return false;
    }
    const auto it = impl_->prefixes.find(make_prefix(addr, len));
    if (it == impl_->prefixes.end()) {
        return false;
    }
    nexthop = it->second;
    return true;
}

std::size_t fib6::size() const noexcept { return impl_->prefixes.size(); }

void fib6::for_each(const std::function<void(const ip6_addr &addr, unsigned len, std::uint32_t nexthop)> &fn) const
{
    for (const auto &[p, nexthop] : impl_->prefixes) {
        fn(p.addr, p.len, nexthop);
    }
}

void fib6::lookup_bulk(const ip6_addr *addrs, std::uint32_t *nexthops, unsigned n) const noexcept
{
    const impl &f = *impl_;
    // Walks one level for all addresses before the next level, so that their cache misses overlap. The acquire loads
    // pair with the release stores of make_way(), paint() and prune().
    constexpr unsigned chunk = 64;
    for (unsigned done = 0; done < n; done += chunk) {
        const unsigned count = std::min(n - done, chunk);
        std::uint64_t e[chunk];
        std::uint32_t deeper = 0;
        const std::uint32_t fallback = f.default_route.load(std::memory_order_relaxed);
        for (unsigned i = 0; i < count; i++) {
            e[i] = f.top[top_index(addrs[done + i])].load(std::memory_order_acquire);
        }
        for (unsigned i = 0; i < count; i++) {
            nexthops[done + i] = depth_of(e[i]) ? static_cast<std::uint32_t>(e[i] & nexthop_mask) : fallback;
            deeper |= child_of(e[i]);
        }
        for (unsigned byte = top_bytes; deeper != 0; byte++) {
            deeper = 0;
            for (unsigned i = 0; i < count; i++) {
                if (child_of(e[i]) != 0) {
                    e[i] = f.group(child_of(e[i]))[addrs[done + i][byte]].load(std::memory_order_acquire);
                    if (depth_of(e[i])) {
                        nexthops[done + i] = static_cast<std::uint32_t>(e[i] & nexthop_mask);
                    }
                    deeper |= child_of(e[i]);
                }
            }
        }
    }
}

std::uint32_t fib6::lookup(const ip6_addr &addr) const noexcept
{
    std::uint32_t nexthop;
    lookup_bulk(&addr, &nexthop, 1);
    return nexthop;
}

} // namespace halfpoll
