// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace halfpoll
{

/// Entries by key. Data CPUs look them up without a lock while the control thread changes them. The table is an array
/// if the keys are its indices, else a hash table with chains. `Entry` has `key` and `std::atomic<Entry *> next`. The
/// caller owns an unlinked entry and frees it after a grace period.
template <typename Entry>
class redirect_table
{
public:
    redirect_table(unsigned max_entries, bool hash)
        : max_entries_(max_entries), shift_(hash ? 32 - bits_for(max_entries) : 0),
          heads_(hash ? std::size_t{1} << bits_for(max_entries) : max_entries)
    {
    }
    ~redirect_table()
    {
        for (auto &head : heads_) {
            for (Entry *e = head.load(std::memory_order_relaxed); e;) {
                delete std::exchange(e, e->next.load(std::memory_order_relaxed));
            }
        }
    }
    redirect_table(const redirect_table &) = delete;
    redirect_table &operator=(const redirect_table &) = delete;

    bool in_range(std::uint32_t key) const noexcept { return shift_ != 0 || key < max_entries_; }
    bool full() const noexcept { return count_ == max_entries_; }

    /// Null: there is none. Data CPUs, in a poll; control thread.
    Entry *lookup(std::uint32_t key) const noexcept
    {
        if (!in_range(key)) {
            return nullptr;
        }
        // acquire; pairs with the releases of replace() and remove().
        Entry *e = heads_[index(key)].load(std::memory_order_acquire);
        while (e && e->key != key) {
            e = e->next.load(std::memory_order_acquire);
        }
        return e;
    }
    /// Calls fn(Entry &) for each entry. Data CPUs, in a poll; control thread.
    template <typename F>
    void for_each(F &&fn) const
    {
        for (const auto &head : heads_) {
            for (Entry *e = head.load(std::memory_order_acquire); e;) {
                Entry *next = e->next.load(std::memory_order_acquire);
                fn(*e);
                e = next;
            }
        }
    }

    /// Links an entry in place of the one with the same key, which it returns. Control thread.
    std::unique_ptr<Entry> replace(std::unique_ptr<Entry> entry) noexcept
    {
        std::atomic<Entry *> *link = link_of(entry->key);
        Entry *old = link->load(std::memory_order_relaxed);
        entry->next.store(old ? old->next.load(std::memory_order_relaxed) : nullptr, std::memory_order_relaxed);
        link->store(entry.release(), std::memory_order_release);
        count_ += old == nullptr;
        return std::unique_ptr<Entry>(old);
    }
    /// Unlinks an entry and returns it; null: there is none. Control thread.
    std::unique_ptr<Entry> remove(std::uint32_t key) noexcept
    {
        std::atomic<Entry *> *link = in_range(key) ? link_of(key) : nullptr;
        Entry *old = link ? link->load(std::memory_order_relaxed) : nullptr;
        if (old) {
            link->store(old->next.load(std::memory_order_relaxed), std::memory_order_release);
            --count_;
        }
        return std::unique_ptr<Entry>(old);
    }

private:
    static unsigned bits_for(unsigned entries) noexcept
    {
        unsigned bits = 1;
        while ((1U << bits) < entries) {
            ++bits;
        }
        return bits;
    }
    std::uint32_t index(std::uint32_t key) const noexcept { return shift_ == 0 ? key : (key * 0x9e3779b1U) >> shift_; }
    /// The pointer to the entry with that key, or the end of its chain.
    std::atomic<Entry *> *link_of(std::uint32_t key) noexcept
    {
        std::atomic<Entry *> *link = &heads_[index(key)];
        for (Entry *e; (e = link->load(std::memory_order_relaxed)) && e->key != key;) {
            link = &e->next;
        }
        return link;
    }

    const unsigned max_entries_;
    const unsigned shift_; ///< 0: the table is an array
    unsigned count_ = 0;   ///< control thread
    std::vector<std::atomic<Entry *>> heads_;
};

} // namespace halfpoll
