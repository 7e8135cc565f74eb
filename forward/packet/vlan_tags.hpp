// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "forward/tables/interface_table.hpp"
#include "segments.hpp"
#include "wire.hpp"

namespace halfpoll
{

inline constexpr unsigned vlan_tag_len = 4;
inline constexpr unsigned macs_len = 12; ///< link addresses, which the tags follow

/// The tags of a frame; of more than two the first two.
struct vlan_tags {
    unsigned count = 0;
    std::uint16_t tpid[2] = {}, tci[2] = {}; ///< outer first
};

inline bool is_vlan_tag(std::uint16_t type) noexcept { return type == ethertype_vlan || type == ethertype_qinq; }

/// Returns false if the frame ends within its tags.
inline bool read_vlan_tags(rte_mbuf *m, vlan_tags &tags) noexcept
{
    for (; tags.count < 2 && is_vlan_tag(load_be16(frame_of(m) + macs_len + tags.count * vlan_tag_len)); tags.count++) {
        if (!pull(m, eth_len + (tags.count + 1) * vlan_tag_len)) {
            return false;
        }
        const std::uint8_t *tag = frame_of(m) + macs_len + tags.count * vlan_tag_len;
        tags.tpid[tags.count] = load_be16(tag);
        tags.tci[tags.count] = load_be16(tag + 2);
    }
    return true;
}

/// Takes the tags off. The mbuf keeps the TCIs, so that vlan_restore() can put them back if the packet is punted.
inline void vlan_strip(rte_mbuf *m, const vlan_tags &tags) noexcept
{
    std::uint8_t *frame = frame_of(m);
    std::memmove(frame + tags.count * vlan_tag_len, frame, macs_len);
    rte_pktmbuf_adj(m, static_cast<std::uint16_t>(tags.count * vlan_tag_len));
    m->vlan_tci_outer = tags.tci[0];
    m->vlan_tci = tags.tci[1];
}

/// Puts tags that vlan_strip() took off back in front. Returns false if there is no headroom.
bool vlan_put_back(const vlan_tags &tags, rte_mbuf *m) noexcept;
/// The same for the tags of the interface `from`, whose TCIs the mbuf kept. Returns false if there is no headroom.
bool vlan_restore(const rx_interface &from, rte_mbuf *m) noexcept;

} // namespace halfpoll
