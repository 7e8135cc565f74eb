// SPDX-License-Identifier: BSD-3-Clause
#include "mirror_impl.hpp"

namespace halfpoll
{

namespace
{
constexpr std::uint64_t probes_per_turn = 1000; // and with a turn in some seconds, no storm
} // namespace

/// The kernel does not see what the data path sends. So it is told of neighbours in use which it would otherwise let
/// grow old and forget, and of members of groups that nobody would ever look for, since the others take their packets.
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
            return false; // the next turn begins here
        }
        ++stats.probes;
        tended = key;
        if (known) {
            neighbour->second.stale = false; // until the kernel says it again
        }
        return true;
    });
}

} // namespace halfpoll
