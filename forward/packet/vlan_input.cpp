// SPDX-License-Identifier: BSD-3-Clause
#include "forward_burst.hpp"
#include "punt_classify.hpp"
#include "vlan_tags.hpp"

#include <halfpoll/stat_add.hpp>

namespace halfpoll
{
namespace
{

constexpr std::uint16_t vid_mask = 0x0FFF;

/// The interface with the first `count` of the tags, or null.
const rx_interface *find(const rx_port &port, const vlan_tags &tags, unsigned count) noexcept
{
    std::uint16_t tpid[2] = {}, vid[2] = {};
    for (unsigned i = 0; i < count; i++) {
        tpid[i] = tags.tpid[i];
        vid[i] = tags.tci[i] & vid_mask;
    }
    return port.find(rx_interface::key_of(tpid, vid));
}

/// The interface that the tags name; null: there is none. A single tag with VLAN id 0 only carries a priority (IEEE
/// 802.1Q) and names the untagged interface, unless the frame is for an interface on top of that: a bridge keeps the
/// tag.
const rx_interface *interface_of(const burst_verdicts &io, const vlan_tags &tags, rte_mbuf *m) noexcept
{
    if (tags.count == 1 && (tags.tci[0] & vid_mask) == 0) {
        const bool above = io.from->kernel_only || (io.from->promiscuous && load_mac(frame_of(m)) != io.mac);
        return above ? nullptr : io.from;
    }
    return find(*io.port, tags, tags.count);
}

/// The class of a frame that is punted with its tags: that of the packet inside.
unsigned class_inside(rte_mbuf *m, const vlan_tags &tags) noexcept
{
    vlan_strip(m, tags);
    const unsigned inside = upper_class(m, load_be16(frame_of(m) + macs_len));
    vlan_put_back(tags, m);
    return inside;
}

/// No interface has the tags of the frame. It is for an interface on top of the one that the tags lead to, if there may
/// be one: a bridge takes tagged frames, and VLANs may stand on a macvlan.
void to_upper(burst_verdicts &io, rte_mbuf *m, const vlan_tags &tags) noexcept
{
    const rx_interface *outer = tags.count == 2 ? find(*io.port, tags, 1) : nullptr;
    const rx_interface &below = outer != nullptr ? *outer : *io.from;
    stat_add(io.stats.other);
    below.any_tags() ? io.punt(class_inside(m, tags), m) : io.drop(DROP_VLAN, m);
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
        const rx_interface *from = interface_of(io, tags, pkts[i]);
        if (from == nullptr) {
            to_upper(io, pkts[i], tags);
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
