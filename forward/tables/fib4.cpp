// SPDX-License-Identifier: BSD-3-Clause
#include "fib.hpp"
#include "table_memory.hpp"

#include <atomic>
#include <string>
#include <unordered_map>
#include <vector>

namespace halfpoll
{
namespace
{

// Bit 31 of an entry: the low 24 bits are a group; otherwise they are a next hop. Bits 24-29: length of the prefix that
// wrote the entry, for the writer only; 0 also where there is no route.
constexpr unsigned depth_shift = 24;
constexpr std::uint32_t depth_mask = 0x3F;
constexpr std::size_t top_entries = 1U << 24;
constexpr std::size_t group_entries = 256;

constexpr unsigned depth_of(std::uint32_t e) { return (e >> depth_shift) & depth_mask; }
constexpr std::uint32_t make_entry(unsigned depth, std::uint32_t nexthop) { return depth << depth_shift | nexthop; }
constexpr std::uint32_t mask_of(unsigned len) { return len ? ~0U << (32 - len) : 0; }
constexpr std::uint64_t key_of(std::uint32_t addr, unsigned len)
{
    return std::uint64_t{addr & mask_of(len)} << 6 | len;
}

struct key_hash {
    std::size_t operator()(std::uint64_t key) const noexcept { return key * 0x9E3779B97F4A7C15ULL >> 20; }
};

std::string to_text(std::uint32_t addr, unsigned len)
{
    return std::to_string(addr >> 24) + "." + std::to_string(addr >> 16 & 255) + "." + std::to_string(addr >> 8 & 255) +
           "." + std::to_string(addr & 255) + "/" + std::to_string(len);
}

} // namespace

struct fib4::impl {
    using entry = std::atomic<std::uint32_t>;

    impl(std::function<void(std::function<void()>)> retire_fn, std::uint32_t nexthop, unsigned groups_max)
        : memory((top_entries + std::size_t{groups_max} * group_entries) * sizeof(entry), "IPv4 forwarding table"),
          top(static_cast<entry *>(memory.data())), groups(top + top_entries), max_groups(groups_max),
          no_route(nexthop), retire(std::move(retire_fn)), long_prefixes(groups_max)
    {
        free_groups.reserve(groups_max);
        if (nexthop != 0) {
            for (std::size_t i = 0; i < top_entries; i++) {
                top[i].store(nexthop, std::memory_order_relaxed);
            }
        }
    }

    entry *group(std::uint32_t e) const noexcept { return groups + std::size_t{e & value_mask} * group_entries; }

    /// Writes `value` into each entry that no prefix longer than `len` holds.
    static void paint(entry *first, std::size_t n, unsigned len, std::uint32_t value) noexcept
    {
        for (entry *e = first; e != first + n; e++) {
            if (depth_of(e->load(std::memory_order_relaxed)) <= len) {
                e->store(value, std::memory_order_release); // pairs with the acquire loads of the lookups
            }
        }
    }

    /// As paint(), over the top table and the groups below it.
    void paint_top(std::uint32_t addr, unsigned len, std::uint32_t value) noexcept
    {
        const std::size_t first = addr >> 8, n = std::size_t{1} << (24 - len);
        for (std::size_t i = first; i < first + n; i++) {
            const std::uint32_t e = top[i].load(std::memory_order_relaxed);
            if (e & extended) {
                paint(group(e), group_entries, len, value);
            } else if (depth_of(e) <= len) {
                top[i].store(value, std::memory_order_release); // pairs with the acquire loads of the lookups
            }
        }
    }

    bool wants_group(std::uint32_t addr, unsigned len) const noexcept
    {
        return len > 24 && !(top[addr >> 8].load(std::memory_order_relaxed) & extended);
    }

    bool group_available() const noexcept { return !free_groups.empty() || used_groups < max_groups; }

    /// Puts a group below a top entry and fills it with the value that the entry had.
    void extend(entry &slot) noexcept
    {
        std::uint32_t g = used_groups;
        if (free_groups.empty()) {
            used_groups++;
        } else {
            g = free_groups.back();
            free_groups.pop_back();
        }
        const std::uint32_t was = slot.load(std::memory_order_relaxed);
        for (entry *e = group(g); e != group(g) + group_entries; e++) {
            e->store(was, std::memory_order_relaxed);
        }
        slot.store(extended | g, std::memory_order_release); // pairs with the acquire loads of the lookups
    }

    /// Removes the group of a top entry. Called when the group holds no prefix longer than 24 bits any more.
    void collapse(entry &slot)
    {
        const std::uint32_t g = slot.load(std::memory_order_relaxed) & value_mask;
        // Pairs with the acquire loads of the lookups.
        slot.store(group(g)->load(std::memory_order_relaxed), std::memory_order_release);
        retire([this, g] { free_groups.push_back(g); });
    }

    /// Entry of the longest prefix that covers `addr` and is shorter than `len`. The default route does not count.
    std::uint32_t cover(std::uint32_t addr, unsigned len) const
    {
        while (len-- > 1) {
            if (by_length[len] == 0) {
                continue;
            }
            if (auto it = prefixes.find(key_of(addr, len)); it != prefixes.end()) {
                return make_entry(len, it->second);
            }
        }
        return no_route;
    }

    table_memory memory;
    entry *top;    ///< indexed by the first 24 bits
    entry *groups; ///< of 256 entries, indexed by the last 8 bits
    unsigned max_groups;
    std::uint32_t no_route;
    std::function<void(std::function<void()>)> retire;

    // The fields below belong to the writer.
    unsigned used_groups = 0;
    std::vector<std::uint32_t> free_groups;
    std::vector<std::uint16_t> long_prefixes; ///< per group: number of prefixes longer than 24 bits
    std::unordered_map<std::uint64_t, std::uint32_t, key_hash> prefixes;
    std::array<std::size_t, 33> by_length{};
};

fib4::fib4(std::function<void(std::function<void()>)> retire, std::uint32_t default_nexthop, unsigned max_groups)
    : impl_(std::make_unique<impl>(std::move(retire), default_nexthop, max_groups)), top_(impl_->top),
      groups_(impl_->groups)
{
}

fib4::~fib4() = default;

void fib4::insert(std::uint32_t addr, unsigned len, std::uint32_t nexthop)
{
    impl &f = *impl_;
    if (len > 32 || nexthop > value_mask) {
        throw error("IPv4 route " + to_text(addr, len) + ": prefix length or next hop " + std::to_string(nexthop) +
                    " out of range");
    }
    addr &= mask_of(len);
    impl::entry &slot = f.top[addr >> 8];
    const bool wants_group = f.wants_group(addr, len);
    if (wants_group && !f.group_available()) {
        throw error("IPv4 route " + to_text(addr, len) + ": all " + std::to_string(f.max_groups) +
                    " groups for prefixes longer than /24 are in use");
    }
    const bool fresh = f.prefixes.insert_or_assign(key_of(addr, len), nexthop).second;
    f.by_length[len] += fresh;
    if (len == 0) {
        tell_default(true, nexthop);
        return;
    }
    if (len <= 24) {
        f.paint_top(addr, len, make_entry(len, nexthop));
        return;
    }
    if (wants_group) {
        f.extend(slot);
    }
    const std::uint32_t g = slot.load(std::memory_order_relaxed) & value_mask;
    f.long_prefixes[g] = static_cast<std::uint16_t>(f.long_prefixes[g] + fresh);
    impl::paint(f.group(g) + (addr & 255), std::size_t{1} << (32 - len), len, make_entry(len, nexthop));
}

bool fib4::fits(std::uint32_t addr, unsigned len) const noexcept
{
    return !impl_->wants_group(addr, len) || impl_->group_available();
}

unsigned fib4::reach(std::uint32_t addr, unsigned len) const noexcept
{
    return impl_->wants_group(addr, len) ? 24 : len;
}

bool fib4::remove(std::uint32_t addr, unsigned len)
{
    impl &f = *impl_;
    if (len > 32 || f.prefixes.erase(key_of(addr, len)) == 0) {
        return false;
    }
    addr &= mask_of(len);
    f.by_length[len]--;
    if (len == 0) {
        tell_default(false, f.no_route);
        return true;
    }
    const std::uint32_t value = f.cover(addr, len);
    // Within the range of the removed prefix, each entry whose length is at most `len` was written by that prefix,
    // which had overwritten all shorter ones.
    if (len <= 24) {
        f.paint_top(addr, len, value);
        return true;
    }
    impl::entry &slot = f.top[addr >> 8];
    const std::uint32_t g = slot.load(std::memory_order_relaxed) & value_mask;
    impl::paint(f.group(g) + (addr & 255), std::size_t{1} << (32 - len), len, value);
    if (--f.long_prefixes[g] == 0) {
        f.collapse(slot);
    }
    return true;
}

void fib4::tell_default(bool exists, std::uint32_t nexthop) const
{
    if (on_default) {
        on_default(exists, nexthop);
    }
}

bool fib4::find(std::uint32_t addr, unsigned len, std::uint32_t &nexthop) const
{
    const auto it = len <= 32 ? impl_->prefixes.find(key_of(addr, len)) : impl_->prefixes.end();
    if (it == impl_->prefixes.end()) {
        return false;
    }
    nexthop = it->second;
    return true;
}

std::size_t fib4::size() const noexcept { return impl_->prefixes.size(); }

void fib4::for_each(const std::function<void(std::uint32_t addr, unsigned len, std::uint32_t nexthop)> &fn) const
{
    for (const auto &[key, nexthop] : impl_->prefixes) {
        fn(static_cast<std::uint32_t>(key >> 6), key & 63, nexthop);
    }
}

} // namespace halfpoll
