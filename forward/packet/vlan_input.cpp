// SPDX-License-Identifier: BSD-3-Clause
#include "input.hpp"

namespace halfpoll
{
namespace
{

constexpr unsigned tag_len = 4, macs_len = 12;
constexpr std::uint16_t vid_mask = 0x0FFF;

struct vlan_tags {
    unsigned count = 0;
    std::uint16_t tpid[2] = {}, tci[2] = {}; ///< outer first
};

bool is_tag(std::uint16_t type) noexcept { return type == ethertype_vlan || type == ethertype_qinq; }

/// Returns false if the frame ends within its tags.
bool read_tags(rte_mbuf *m, vlan_tags &tags) noexcept
{
    for (; tags.count < 2 && is_tag(load_be16(frame_of(m) + macs_len + tags.count * tag_len)); tags.count++) {
        if (!pull(m, eth_len + (tags.count + 1) * tag_len)) {
            return false;
        }
        const std::uint8_t *tag = frame_of(m) + macs_len + tags.count * tag_len;
        tags.tpid[tags.count] = load_be16(tag);
        tags.tci[tags.count] = load_be16(tag + 2);
    }
    return true;
}

/// The interface that the tags name; null: there is none. A single tag with VLAN id 0 only carries a priority (IEEE
/// 802.1Q) and names the untagged interface.
const rx_interface *interface_of(const input &io, const vlan_tags &tags) noexcept
{
    const std::uint16_t vid[2] = {static_cast<std::uint16_t>(tags.tci[0] & vid_mask),
                                  static_cast<std::uint16_t>(tags.tci[1] & vid_mask)};
    if (tags.count == 1 && vid[0] == 0) {
        return io.from;
    }
    return io.port->find(rx_interface::key_of(tags.tpid, vid));
}

/// Takes the tags off. The mbuf keeps the TCIs, so that vlan_restore() can put them back if the packet is punted.
void strip(rte_mbuf *m, const vlan_tags &tags) noexcept
{
    std::uint8_t *frame = frame_of(m);
    std::memmove(frame + tags.count * tag_len, frame, macs_len);
    rte_pktmbuf_adj(m, static_cast<std::uint16_t>(tags.count * tag_len));
    m->vlan_tci_outer = tags.tci[0];
    m->vlan_tci = tags.tci[1];
}

/// Forwards packets of one interface.
void forward_run(input &outer, const rx_interface &from, rte_mbuf **pkts, unsigned n) noexcept
{
    input io(outer, from);
    ip4_forward(io, pkts, n);
}

} // namespace

bool vlan_restore(const rx_interface &from, rte_mbuf *m) noexcept
{
    const unsigned grow = from.tags() * tag_len;
    auto *frame = reinterpret_cast<std::uint8_t *>(rte_pktmbuf_prepend(m, static_cast<std::uint16_t>(grow)));
    if (frame == nullptr) {
        return false; // never happens: the tags came from there
    }
    std::memmove(frame, frame + grow, macs_len);
    const std::uint16_t tci[2] = {m->vlan_tci_outer, m->vlan_tci};
    for (unsigned i = 0; i < from.tags(); i++) {
        store(frame + macs_len + i * tag_len, __builtin_bswap16(from.tpid[i]));
        store(frame + macs_len + i * tag_len + 2, __builtin_bswap16(tci[i]));
    }
    return true;
}

void vlan_input(input &io, rte_mbuf **pkts, unsigned n) noexcept
{
    rte_mbuf *run[input_max];
    unsigned length = 0;
    const rx_interface *same = nullptr;
    for (unsigned i = 0; i < n; i++) {
        vlan_tags tags;
        if (!read_tags(pkts[i], tags)) {
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
        strip(pkts[i], tags);
        run[length++] = pkts[i];
    }
    if (length != 0) {
        forward_run(io, *same, run, length);
    }
}

} // namespace halfpoll
