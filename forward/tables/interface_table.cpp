// SPDX-License-Identifier: BSD-3-Clause
#include "interface_table.hpp"

#include <algorithm>

namespace halfpoll
{

const rx_interface *rx_port::find(std::uint64_t key) const noexcept
{
    const auto found = std::ranges::lower_bound(tagged, key, {}, &rx_interface::key);
    return found == tagged.end() || found->key() != key ? nullptr : &*found;
}

interface_table::~interface_table()
{
    for (const auto &port : ports_) {
        delete port.load(std::memory_order_relaxed);
    }
}

void interface_table::set(ifindex_t port, const std::vector<rx_interface> &interfaces)
{
    std::unique_ptr<rx_port> fresh;
    if (!interfaces.empty()) {
        fresh = std::make_unique<rx_port>();
        for (const rx_interface &i : interfaces) {
            i.tags() == 0 ? fresh->untagged = i : fresh->tagged.emplace_back(i);
        }
        std::ranges::sort(fresh->tagged, {}, &rx_interface::key);
    }
    const rx_port *old = ports_[port].exchange(fresh.release(), std::memory_order_acq_rel); // pairs with get()
    retire_([old] { delete old; });
}

namespace
{

rp_verdict verdict(const adjacency &back, const rx_interface &in) noexcept
{
    const bool kernel_forwards =
        back.kind == adjacency_kind::punt && (back.punt == PUNT_KERNEL || back.punt == PUNT_TABLE_FULL);
    const bool unresolved = back.kind == adjacency_kind::punt && back.punt == PUNT_RESOLVE;
    if (kernel_forwards && back.oif == 0) {
        return rp_verdict::ask;
    }
    if (back.kind != adjacency_kind::forward && !unresolved && !kernel_forwards) {
        return rp_verdict::drop; // no route, a route that drops, or an address of the box
    }
    return in.rp_filter == rp_filter_mode::loose || back.oif == in.oif ? rp_verdict::pass : rp_verdict::drop;
}

} // namespace

rp_verdict reverse_path(const nexthop_table &nexthops, const rx_interface &in, std::uint32_t back) noexcept
{
    const adjacency &adj = *nexthops.get(back);
    if (adj.kind != adjacency_kind::group) {
        return verdict(adj, in);
    }
    rp_verdict best = rp_verdict::drop;
    for (const std::uint32_t member : adj.group->members) { // one matching path suffices
        const rp_verdict one = verdict(*nexthops.get(member), in);
        if (one == rp_verdict::pass) {
            return one;
        }
        best = one == rp_verdict::ask ? one : best;
    }
    return best;
}

} // namespace halfpoll
