// SPDX-License-Identifier: BSD-3-Clause
#include "vlan_tags.hpp"

namespace halfpoll
{

bool vlan_put_back(const vlan_tags &tags, rte_mbuf *m) noexcept
{
    const unsigned grow = tags.count * vlan_tag_len;
    auto *frame = reinterpret_cast<std::uint8_t *>(rte_pktmbuf_prepend(m, static_cast<std::uint16_t>(grow)));
    if (frame == nullptr) {
        return false; // never happens: the tags came from there
    }
    std::memmove(frame, frame + grow, macs_len);
    for (unsigned i = 0; i < tags.count; i++) {
        store(frame + macs_len + i * vlan_tag_len, __builtin_bswap16(tags.tpid[i]));
        store(frame + macs_len + i * vlan_tag_len + 2, __builtin_bswap16(tags.tci[i]));
    }
    return true;
}

bool vlan_restore(const rx_interface &from, rte_mbuf *m) noexcept
{
    return vlan_put_back(
        {.count = from.tags(), .tpid = {from.tpid[0], from.tpid[1]}, .tci = {m->vlan_tci_outer, m->vlan_tci}}, m);
}

} // namespace halfpoll
