// SPDX-License-Identifier: BSD-3-Clause
#include "forward_burst.hpp"
#include "vlan_tags.hpp"

#include <halfpoll/stat_add.hpp>

namespace halfpoll
{
namespace
{

constexpr std::uint16_t vid_mask = 0x0FFF;

/// The interface that the tags name; null: there is none. A single tag with VLAN id 0 only carries a priority (IEEE
/// 802.1Q) and names the untagged interface.
const rx_interface *interface_of(const burst_verdicts &io, const vlan_tags &tags) noexcept
{
    const std::uint16_t vid[2] = {static_cast<std::uint16_t>(tags.tci[0] & vid_mask),
                                  static_cast<std::uint16_t>(tags.tci[1] & vid_mask)};
    if (tags.count == 1 && vid[0] == 0) {
        return io.from;
    }
    return io.port->find(rx_interface::key_of(tags.tpid, vid));
}

/// Forwards packets of one interface.
void forward_run(burst_verdicts &outer, const rx_interface &from, rte_mbuf **pkts, unsigned n) noexcept
{
    burst_verdicts io(outer, from);
    forward_burst(io, pkts, n);
}

} // namespace

void vlan_input(burst_verdicts &io, rte_mbuf **pkts, unsigned n) noexcept
{
    rte_mbuf *run[burst_max];
    unsigned length = 0;
    const rx_interface *same = nullptr;
    for (unsigned i = 0; i < n; i++) {
        vlan_tags tags;
        if (!read_vlan_tags(pkts[i], tags)) {
            stat_add(io.stats.other);
            io.drop(DROP_FRAME_SHORT, pkts[i]);
            continue;
        }
        const rx_interface *from = interface_of(io, tags);
        if (from == nullptr) {
            stat_add(io.stats.other);
            io.drop(DROP_VLAN, pkts[i]);
            continue;
        }
        if (from != same && length != 0) {
            forward_run(io, *same, run, length);
            length = 0;
        }
        same = from;
        vlan_strip(pkts[i], tags);
        run[length++] = pkts[i];
    }
    if (length != 0) {
        forward_run(io, *same, run, length);
    }
}

} // namespace halfpoll
