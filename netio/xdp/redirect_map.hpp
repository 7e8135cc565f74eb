// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "redirect.hpp"
#include "redirect_table.hpp"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace halfpoll
{

/// The common part of the maps: entries are linked, unlinked, and freed when no data CPU can see them any more. An
/// `Entry` (see redirect_table) has `xdp_map_entry shown() const`, which returns the value it was made from, and
/// `leads_to(const net_device &)`.
template <typename Entry>
class redirect_map : public xdp_map
{
public:
    redirect_map(net_core &core, std::string map_name, xdp_map_type map_type, unsigned entries)
        : xdp_map(std::move(map_name), map_type, entries), core_(core),
          table_(entries, map_type == xdp_map_type::devmap_hash)
    {
    }

    bool erase(std::uint32_t key) override
    {
        std::unique_ptr<Entry> old = table_.remove(key);
        if (!old) {
            return false;
        }
        retire(std::move(old));
        return true;
    }
    std::vector<xdp_map_entry> entries() const override
    {
        std::vector<xdp_map_entry> all;
        table_.for_each([&](const Entry &e) { all.push_back(e.shown()); });
        std::ranges::sort(all, {}, &xdp_map_entry::key);
        return all;
    }
    void unlink_device(const net_device &dev) override
    {
        table_.for_each([&](const Entry &e) {
            if (e.leads_to(dev)) {
                removed_.push_back(table_.remove(e.key));
            }
        });
    }
    void free_removed() noexcept override { removed_.clear(); }
    void clear() noexcept override
    {
        table_.for_each([&](const Entry &e) { removed_.push_back(table_.remove(e.key)); });
        core_.rt().synchronize_rcu();
        removed_.clear();
    }

    const redirect_table<Entry> &table() const noexcept { return table_; }

protected:
    /// Throws `error` unless an entry may be set with that key and those flags.
    void check(std::uint32_t key, std::uint64_t flags) const
    {
        xdp_map_check_key(*this, key, table_.in_range(key));
        xdp_map_check_flags(*this, key, table_.lookup(key) != nullptr, table_.full(), flags);
    }
    void link(std::unique_ptr<Entry> entry)
    {
        if (std::unique_ptr<Entry> old = table_.replace(std::move(entry))) {
            retire(std::move(old));
        }
    }
    /// Waits until no data CPU uses an unlinked entry.
    virtual void retire(std::unique_ptr<Entry>) { core_.rt().synchronize_rcu(); }

    net_core &core_;

private:
    redirect_table<Entry> table_;
    std::vector<std::unique_ptr<Entry>> removed_; ///< unlinked; freed after a grace period
};

} // namespace halfpoll
