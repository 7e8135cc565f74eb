// SPDX-License-Identifier: BSD-3-Clause
#include "neighbour_tender.hpp"

namespace halfpoll
{

namespace
{
constexpr std::uint64_t probes_per_turn = 1000;   // a turn comes every few seconds: the kernel is never flooded
constexpr ktime_t tend_period = 5 * NSEC_PER_SEC; // the kernel's delay_first_probe_time
} // namespace

neighbour_tender::neighbour_tender(const epoll_set &events, netlink_socket &socket, kernel_state &state,
                                   const egress_paths &egress, nexthop_table &table, shared_nexthops &nexthops,
                                   mirror_report &report)
    : timer_(events), socket_(socket), neighbours_(state.neighbours), egress_(egress), table_(table),
      nexthops_(nexthops), report_(report)
{
    timer_.arm_every(tend_period);
}

void neighbour_tender::process()
{
    if (timer_.take_expiry()) {
        tend();
    }
}

/// The kernel does not see the packets that the data path sends. tend() therefore reports the neighbours in use,
/// which the kernel would otherwise let age and forget. It also reports the unresolved members of groups: no packet
/// would ever make the kernel resolve them, since the other members take all flows.
void neighbour_tender::tend()
{
    nexthops_.spread_used_marks();
    const std::uint64_t limit = report_.stats.probes + probes_per_turn;
    nexthops_.for_each_hop(tended_, [&](const shared_nexthops::hop_info &hop) {
        const nexthop_key &key = hop.key;
        if (key.gateway.family == AF_UNSPEC || !egress_.usable(key.oif)) {
            return true;
        }
        const auto neighbour = neighbours_.find({key.gateway, key.oif});
        const bool known = neighbour != neighbours_.end();
        const bool used = table_.take_used(hop.index);
        if (known ? !used || !neighbour->second.stale : !hop.in_group) {
            return true;
        }
        if (report_.stats.probes == limit || !socket_.use_neighbour(key.oif, key.gateway)) {
            table_.mark_used(hop.index);
            return false; // the next turn begins at this next hop
        }
        ++report_.stats.probes;
        tended_ = key;
        if (known) {
            neighbour->second.stale = false; // until the kernel reports NUD_STALE again
        }
        return true;
    });
}

} // namespace halfpoll
