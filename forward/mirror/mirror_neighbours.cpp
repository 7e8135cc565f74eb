// SPDX-License-Identifier: BSD-3-Clause
#include "mirror_impl.hpp"

namespace halfpoll
{

namespace
{
constexpr std::uint64_t probes_per_turn = 1000; // a turn comes every few seconds: the kernel is never flooded
} // namespace

/// The kernel does not see the packets that the data path sends. tend_neighbours() therefore reports the neighbours in
/// use, which the kernel would otherwise let age and forget. It also reports the unresolved members of groups: no
/// packet would ever make the kernel resolve them, since the other members take all flows.
void mirror::impl::tend_neighbours()
{
    nexthop_table &table = fwd.nexthops();
    nexthops.spread_used_marks();
    const std::uint64_t limit = stats.probes + probes_per_turn;
    nexthops.for_each_hop(tended, [&](const shared_nexthops::hop_info &hop) {
        const nexthop_key &key = hop.key;
        if (key.gateway.family == AF_UNSPEC || !usable(key.oif)) {
            return true;
        }
        const auto neighbour = neighbours.find({key.gateway, key.oif});
        const bool known = neighbour != neighbours.end();
        const bool used = table.take_used(hop.index);
        if (known ? !used || !neighbour->second.stale : !hop.in_group) {
            return true;
        }
        if (stats.probes == limit || !socket.use_neighbour(key.oif, key.gateway)) {
            table.mark_used(hop.index);
            return false; // the next turn begins at this next hop
        }
        ++stats.probes;
        tended = key;
        if (known) {
            neighbour->second.stale = false; // until the kernel reports NUD_STALE again
        }
        return true;
    });
}

} // namespace halfpoll
