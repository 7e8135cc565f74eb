// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// A reference router: the rules of RFC 1812 and RFC 8200 for one frame, applied one after the other to a flat copy. It
// shares with the forwarder only the numbers of reasons and classes, and the adjacencies.

#include "forward/packet/forwarder.hpp"

#include <algorithm>
#include <map>
#include <numeric>
#include <tuple>
#include <utility>
#include <vector>

namespace halfpoll::test
{

using bytes = std::vector<std::uint8_t>;

inline unsigned get16(const bytes &f, std::size_t at) { return f[at] << 8 | f[at + 1]; }
inline void set16(bytes &f, std::size_t at, unsigned v)
{
    f[at] = static_cast<std::uint8_t>(v >> 8);
    f[at + 1] = static_cast<std::uint8_t>(v);
}

/// Internet checksum (RFC 791) of a header at `at`, with its checksum field taken as zero.
inline unsigned internet_checksum(const bytes &f, std::size_t at, std::size_t length)
{
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < length; i += 2) {
        sum += i == 10 ? 0 : get16(f, at + i);
    }
    return 0xFFFF - static_cast<unsigned>(sum == 0 ? 0 : (sum - 1) % 0xFFFF + 1);
}

/// The expected result for a frame.
struct verdict {
    enum { sent, dropped, punted } what;
    unsigned detail = 0;             ///< drop reason or punt class
    const net_device *dev = nullptr; ///< sent: egress
    bytes out;                       ///< sent or punted: the frame
};

class model_router
{
public:
    bytes mac; ///< of the ingress interface

    /// Adds a prefix of 4 or 16 address bytes. The longest prefix wins.
    void add_route(const bytes &prefix, unsigned len, const adjacency &adj)
    {
        routes_[{prefix.size(), len, masked(prefix, len)}] = adj;
    }

    verdict forward(const bytes &f) const
    {
        if (f.size() < 14) {
            return drop(DROP_FRAME_SHORT);
        }
        const unsigned type = get16(f, 12);
        if (f[0] & 1) {
            const bool isis = type <= 1500 && f.size() >= 16 && get16(f, 14) == 0xFEFE;
            return punt(type == 0x0806                     ? unsigned{PUNT_ARP_ND}
                        : type == 0x0800 || type == 0x86DD ? local(f, PUNT_CONTROL)
                                                           : unsigned{isis ? PUNT_ROUTING : PUNT_CONTROL},
                        f);
        }
        if (!std::equal(mac.begin(), mac.end(), f.begin())) {
            return drop(DROP_OTHERHOST);
        }
        switch (type) {
        case 0x0800:
            return forward4(f);
        case 0x86DD:
            return forward6(f);
        case 0x0806:
            return punt(PUNT_ARP_ND, f);
        default:
            return punt(PUNT_OTHER, f);
        }
    }

private:
    static verdict drop(unsigned reason) { return {verdict::dropped, reason, nullptr, {}}; }
    static verdict punt(unsigned punt_class, const bytes &f) { return {verdict::punted, punt_class, nullptr, f}; }

    static bytes masked(bytes addr, unsigned len)
    {
        for (std::size_t bit = len; bit < addr.size() * 8; bit++) {
            addr[bit / 8] &= static_cast<std::uint8_t>(~(0x80U >> bit % 8));
        }
        return addr;
    }
    /// True for ICMPv6 types 133 to 137.
    static bool discovery(const bytes &f) { return f.size() > 54 && f[20] == 58 && f[54] >= 133 && f[54] <= 137; }

    /// True for the protocols that routers use among themselves: OSPF, EIGRP, PIM, VRRP; BGP and LDP; BFD, RIP.
    static bool routing(const bytes &f, unsigned protocol, std::size_t l4)
    {
        if (protocol == 88 || protocol == 89 || protocol == 103 || protocol == 112) {
            return true;
        }
        if ((protocol != 6 && protocol != 17) || f.size() < l4 + 4) {
            return false;
        }
        const std::vector<unsigned> known =
            protocol == 6 ? std::vector<unsigned>{179, 646} : std::vector<unsigned>{520, 521, 646, 3784, 3785, 4784};
        return std::ranges::count(known, get16(f, l4)) + std::ranges::count(known, get16(f, l4 + 2)) > 0;
    }
    /// The class of a packet for the box; `otherwise` if it is an ordinary packet.
    static unsigned local(const bytes &f, unsigned otherwise)
    {
        if (get16(f, 12) == 0x0800) {
            const bool first = f.size() >= 34 && (get16(f, 20) & 0x1FFF) == 0;
            return first && routing(f, f[23], 14 + (f[14] & 15U) * 4) ? unsigned{PUNT_ROUTING} : otherwise;
        }
        if (discovery(f)) {
            return PUNT_ARP_ND;
        }
        return f.size() >= 54 && routing(f, f[20], 54) ? unsigned{PUNT_ROUTING} : otherwise;
    }

    adjacency lookup(const bytes &addr) const
    {
        for (unsigned len = static_cast<unsigned>(addr.size() * 8) + 1; len-- > 0;) {
            if (const auto found = routes_.find({addr.size(), len, masked(addr, len)}); found != routes_.end()) {
                return found->second;
            }
        }
        adjacency none;
        none.punt = PUNT_NO_ROUTE;
        return none;
    }

    /// True for loopback, multicast, the unspecified address and the limited broadcast (RFC 1812 4.2.2.11, 5.3.7). As
    /// in Linux since 5.3, the rest of network 0 and class E is forwarded.
    static bool martian4(const std::uint8_t *addr)
    {
        const bytes a(addr, addr + 4);
        return a == bytes(4, 0) || a == bytes(4, 255) || a[0] == 127 || (a[0] >= 224 && a[0] < 240);
    }

    static verdict divert(const adjacency &adj, const bytes &f)
    {
        return adj.kind == adjacency_kind::drop ? drop(adj.drop) : punt(adj.punt, f);
    }

    verdict forward4(const bytes &f) const
    {
        const std::size_t payload = f.size() - 14;
        if (payload < 20) {
            return drop(DROP_FRAME_SHORT);
        }
        const unsigned header = (f[14] & 15) * 4, total = get16(f, 16);
        if (f[14] >> 4 != 4 || header < 20) {
            return drop(DROP_IP_VERSION);
        }
        if (total < header || total > payload) {
            return drop(DROP_IP_LENGTH);
        }
        if (get16(f, 24) % 0xFFFF != internet_checksum(f, 14, header) % 0xFFFF) { // 0xFFFF is another form of 0
            return drop(DROP_IP_CSUM);
        }
        const std::uint8_t *src = &f[26], *dst = &f[30];
        if ((dst[0] >= 224 && dst[0] < 240) || std::all_of(dst, dst + 4, [](auto b) { return b == 255; })) {
            return punt(local(f, PUNT_CONTROL), f);
        }
        if (martian4(src) || martian4(dst)) {
            return drop(martian4(src) ? DROP_IP_SRC : DROP_IP_DST);
        }
        const adjacency adj = lookup(bytes(dst, dst + 4));
        if (adj.kind == adjacency_kind::punt && adj.punt == PUNT_LOCAL) {
            return punt(local(f, PUNT_LOCAL), f);
        }
        if (adj.kind != adjacency_kind::forward) {
            return divert(adj, f);
        }
        if (f[22] < 2) {
            return punt(PUNT_TTL, f);
        }
        if (header > 20) {
            return punt(PUNT_OPTIONS, f);
        }
        if (total > adj.mtu) {
            return punt(PUNT_TOO_BIG, f);
        }
        bytes next = f;
        next[22]--;
        set16(next, 24, internet_checksum(next, 14, 20));
        return send(adj, total, next);
    }

    verdict forward6(const bytes &f) const
    {
        const std::size_t payload = f.size() - 14;
        if (payload < 40) {
            return drop(DROP_FRAME_SHORT);
        }
        if (f[14] >> 4 != 6) {
            return drop(DROP_IP_VERSION);
        }
        const unsigned total = 40 + get16(f, 18);
        if (total > payload) {
            return drop(DROP_IP_LENGTH);
        }
        const bytes src(&f[22], &f[38]), dst(&f[38], &f[54]);
        const bytes unspecified(16, 0);
        bytes loopback = unspecified;
        loopback[15] = 1;
        if (src[0] == 0xFF || src == loopback) {
            return drop(DROP_IP_SRC);
        }
        if (dst == unspecified || dst == loopback) {
            return drop(DROP_IP_DST);
        }
        if (dst[0] == 0xFF) {
            return punt(local(f, PUNT_CONTROL), f);
        }
        const unsigned own = local(f, PUNT_LOCAL);
        const auto link_local = [](const bytes &a) { return a[0] == 0xFE && a[1] >= 0x80 && a[1] < 0xC0; };
        const adjacency adj = lookup(dst);
        if (link_local(dst) || (adj.kind == adjacency_kind::punt && adj.punt == PUNT_LOCAL)) {
            return punt(own, f);
        }
        if (src == unspecified && adj.kind != adjacency_kind::punt) {
            return drop(DROP_IP_SRC);
        }
        if (adj.kind != adjacency_kind::forward) {
            return divert(adj, f);
        }
        if (link_local(src)) {
            return punt(PUNT_OTHER, f);
        }
        if (f[21] < 2) {
            return punt(PUNT_TTL, f);
        }
        if (f[20] == 0) {
            return punt(PUNT_OPTIONS, f);
        }
        if (total > adj.mtu) {
            return punt(PUNT_TOO_BIG, f);
        }
        bytes next = f;
        next[21]--;
        return send(adj, total, next);
    }

    /// Sends the packet with a new link header. Bytes behind the packet (link padding) are not sent.
    static verdict send(const adjacency &adj, unsigned total, const bytes &f)
    {
        bytes out(adj.rewrite, adj.rewrite + adj.rewrite_len);
        out.insert(out.end(), f.begin() + 14, f.begin() + 14 + total);
        if (out.size() > adj.dev->mtu + 14U + 8U) { // two VLAN tags are not counted against the MTU
            return drop(DROP_TX_OVERSIZE);
        }
        return {verdict::sent, 0, adj.dev, out};
    }

    std::map<std::tuple<std::size_t, unsigned, bytes>, adjacency> routes_;
};

} // namespace halfpoll::test
