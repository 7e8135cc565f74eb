// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace halfpoll
{

/// The backends of flows on one CPU: sets of four flows, in which a new flow replaces the one that was not seen for the
/// longest time.
class flow_table
{
public:
    explicit flow_table(std::size_t flows) : sets_(flows / 4) {}

    /// The backend of a flow, which the caller may read or change; null: the flow is not in the table.
    std::uint32_t *find(std::uint64_t flow, std::uint64_t now)
    {
        for (entry &e : set_of(flow).entries) {
            if (e.flow == flow && e.seen != 0) {
                e.seen = stamp(now);
                return &e.backend;
            }
        }
        return nullptr;
    }

    /// Adds a flow that is not in the table. True: another flow was removed for it.
    bool add(std::uint64_t flow, std::uint32_t backend, std::uint64_t now)
    {
        entry &oldest = *std::ranges::min_element(set_of(flow).entries, {}, &entry::seen);
        const bool full = oldest.seen != 0;
        oldest = {flow, backend, stamp(now)};
        return full;
    }

private:
    struct entry {
        std::uint64_t flow;
        std::uint32_t backend;
        std::uint32_t seen; ///< 0: free
    };
    struct alignas(64) set {
        entry entries[4];
    };

    /// Units of about a millisecond, so that 32 bits last for 50 days; after that, an old flow can look newer once.
    static std::uint32_t stamp(std::uint64_t now) { return static_cast<std::uint32_t>(now >> 20) | 1; }
    set &set_of(std::uint64_t flow) { return sets_[(flow >> 32) % sets_.size()]; }

    std::vector<set> sets_;
};

/// Returns the tables, one for each CPU. All instances share them, so that an instance which replaces another one knows
/// its flows. A CPU runs one instance at a time, hence there are no locks. Control thread.
inline std::shared_ptr<std::vector<flow_table>> share_flow_tables(std::uint32_t cpus, std::size_t flows)
{
    static std::mutex lock;
    static std::weak_ptr<std::vector<flow_table>> last;
    static std::size_t last_flows = 0;
    const std::lock_guard guard(lock);
    auto tables = last.lock();
    if (!tables || tables->size() != cpus || last_flows != flows) {
        tables = std::make_shared<std::vector<flow_table>>(cpus, flow_table(flows));
        last = tables;
        last_flows = flows;
    }
    return tables;
}

} // namespace halfpoll
