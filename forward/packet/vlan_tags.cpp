// SPDX-License-Identifier: BSD-3-Clause
#include "vlan_tags.hpp"

namespace halfpoll
{

bool vlan_restore(const rx_interface &from, rte_mbuf *m) noexcept
{
    const unsigned grow = from.tags() * vlan_tag_len;
    auto *frame = reinterpret_cast<std::uint8_t *>(rte_pktmbuf_prepend(m, static_cast<std::uint16_t>(grow)));
    if (frame == nullptr) {
        return false; // never happens: the tags came from there
    }
    std::memmove(frame, frame + grow, macs_len);
    const std::uint16_t tci[2] = {m->vlan_tci_outer, m->vlan_tci};
    for (unsigned i = 0; i < from.tags(); i++) {
        store(frame + macs_len + i * vlan_tag_len, __builtin_bswap16(from.tpid[i]));
        store(frame + macs_len + i * vlan_tag_len + 2, __builtin_bswap16(tci[i]));
    }
    return true;
}

} // namespace halfpoll
