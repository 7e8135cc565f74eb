// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace halfpoll
{

/// Where flows went, on one CPU: sets of four, of which the one that was not seen for longest gives way to a new one.
class flow_table
{
public:
    explicit flow_table(std::size_t flows) : sets_(flows / 4) {}

    /// The backend of a flow, to read or to change; null: it is not here.
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

    /// Keeps a flow that is not here. True: another one was forgotten for it.
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

    /// Milliseconds or so, which 32 bits hold for 50 days; older ones look newer once.
    static std::uint32_t stamp(std::uint64_t now) { return static_cast<std::uint32_t>(now >> 20) | 1; }
    set &set_of(std::uint64_t flow) { return sets_[(flow >> 32) % sets_.size()]; }

    std::vector<set> sets_;
};

/// One for each CPU. Of all instances alive, so that the one that replaces another knows the flows of that; a CPU runs
/// one at a time, hence no locks. Control thread.
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
