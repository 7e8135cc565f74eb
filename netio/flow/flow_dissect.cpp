// SPDX-License-Identifier: BSD-3-Clause
#include "flow_dissect.hpp"

#include <rte_ether.h>

namespace halfpoll
{
namespace
{

constexpr unsigned ETH_LEN = 14, VLAN_LEN = 4, MAX_TAGS = 2, IP4_LEN = 20, IP6_LEN = 40, PORTS_LEN = 4;
constexpr std::uint8_t PROTOCOL_TCP = 6, PROTOCOL_UDP = 17;
constexpr std::uint8_t HOP_BY_HOP = 0, ROUTING = 43, FRAGMENT = 44, DESTINATION = 60;
constexpr unsigned MAX_EXTENSIONS = 8;

/// The bytes of the first segment.
struct header_view {
    const std::uint8_t *data;
    unsigned length;

    bool has(unsigned offset, unsigned n) const noexcept { return offset + n <= length; }
    std::uint16_t be16(unsigned offset) const noexcept
    {
        return rte_be_to_cpu_16(load_as<std::uint16_t>(data + offset));
    }
};

bool is_tag(std::uint16_t type) noexcept
{
    return type == RTE_ETHER_TYPE_VLAN || type == RTE_ETHER_TYPE_QINQ || type == RTE_ETHER_TYPE_QINQ1;
}

std::uint32_t ports_at(const header_view &h, unsigned offset, std::uint8_t protocol) noexcept
{
    const bool has_ports = protocol == PROTOCOL_TCP || protocol == PROTOCOL_UDP;
    return has_ports && h.has(offset, PORTS_LEN) ? load_as<std::uint32_t>(h.data + offset) : 0;
}

flow_keys dissect_ip4(const header_view &h, unsigned at) noexcept
{
    if (!h.has(at, IP4_LEN) || h.data[at] >> 4 != 4) {
        return {};
    }
    const unsigned header = (h.data[at] & 15U) * 4;
    const bool fragment = (h.be16(at + 6) & 0x3FFF) != 0; // an offset, or more fragments follow
    const bool whole = !fragment && header >= IP4_LEN;
    return {.addresses = h.data + at + 12, .ports = whole ? ports_at(h, at + header, h.data[at + 9]) : 0};
}

flow_keys dissect_ip6(const header_view &h, unsigned at) noexcept
{
    if (!h.has(at, IP6_LEN) || h.data[at] >> 4 != 6) {
        return {};
    }
    flow_keys keys{.addresses = h.data + at + 8, .ip6 = true};
    std::uint8_t next = h.data[at + 6];
    unsigned offset = at + IP6_LEN;
    for (unsigned i = 0; i < MAX_EXTENSIONS && (next == HOP_BY_HOP || next == ROUTING || next == DESTINATION); ++i) {
        if (!h.has(offset, 8)) {
            return keys;
        }
        next = h.data[offset];
        offset += (h.data[offset + 1] + 1U) * 8;
    }
    keys.ports = next == FRAGMENT ? 0 : ports_at(h, offset, next);
    return keys;
}

} // namespace

flow_keys flow_dissect(const rte_mbuf *m) noexcept
{
    const header_view h{rte_pktmbuf_mtod(m, const std::uint8_t *), m->data_len};
    unsigned at = ETH_LEN;
    if (!h.has(0, ETH_LEN)) {
        return {};
    }
    std::uint16_t type = h.be16(ETH_LEN - 2);
    for (unsigned tags = 0; tags < MAX_TAGS && is_tag(type) && h.has(at, VLAN_LEN); ++tags) {
        type = h.be16(at + 2);
        at += VLAN_LEN;
    }
    if (type == RTE_ETHER_TYPE_IPV4) {
        return dissect_ip4(h, at);
    }
    return type == RTE_ETHER_TYPE_IPV6 ? dissect_ip6(h, at) : flow_keys{};
}

} // namespace halfpoll
