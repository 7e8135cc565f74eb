// SPDX-License-Identifier: BSD-3-Clause
#include "ip4_check.hpp"

#include <algorithm>

namespace halfpoll
{
namespace
{

const ip4_check_fn ip4_check = ip4_check_levels().front().check;

bool all_equal(const std::uint32_t *nexthop, unsigned n) noexcept
{
    if (nexthop[0] != nexthop[n - 1]) {
        return false;
    }
    std::uint32_t differs = 0;
    for (unsigned i = 1; i < n; i++) {
        differs |= nexthop[i] ^ nexthop[0];
    }
    return differs == 0;
}

/// The adjacency sends, untagged.
bool is_plain(const adjacency &adj) noexcept
{
    return adj.kind == adjacency_kind::forward && adj.rewrite_len == eth_len;
}

/// The link header over what was there, in two stores that overlap by two bytes, and the TTL.
void rewrite_frame(const ip4_burst &burst, unsigned i, std::uint64_t head, std::uint64_t tail) noexcept
{
    std::uint8_t *frame = burst.frame[i];
    store(frame, head);
    store(frame + 6, tail);
    store(frame + 22, burst.ttl_word[i]);
}

/// All go the same way: one adjacency is looked at. False: it is no plain one, or a packet does not fit.
bool rewrite_alike(input &io, const ip4_burst &burst, std::uint32_t nexthop, rte_mbuf **pkts, unsigned n) noexcept
{
    const adjacency &adj = *io.nexthops.get(nexthop);
    if (!is_plain(adj) || burst.longest > std::uint32_t{adj.mtu} + eth_len) {
        return false;
    }
    const std::uint64_t head = load<std::uint64_t>(adj.rewrite), tail = load<std::uint64_t>(adj.rewrite + 6);
    for (unsigned i = 0; i < n; i++) {
        rewrite_frame(burst, i, head, tail);
    }
    io.xmit(*adj.dev, pkts, n);
    return true;
}

/// Different next hops behind one device. False: there is more than one, or something is not plain.
bool rewrite_each(input &io, const ip4_burst &burst, const std::uint32_t *nexthop, rte_mbuf **pkts, unsigned n) noexcept
{
    const adjacency *adj[input_max];
    net_device *const dev = io.nexthops.get(nexthop[0])->dev;
    unsigned mtu = UINT16_MAX;
    bool alike = true;
    for (unsigned i = 0; i < n; i++) {
        const adjacency &a = *io.nexthops.get(nexthop[i]);
        adj[i] = &a;
        alike &= is_plain(a) & (a.dev == dev);
        mtu = std::min<unsigned>(mtu, a.mtu);
    }
    if (!alike || burst.longest > mtu + eth_len) {
        return false;
    }
    for (unsigned i = 0; i < n; i++) {
        rewrite_frame(burst, i, load<std::uint64_t>(adj[i]->rewrite), load<std::uint64_t>(adj[i]->rewrite + 6));
    }
    io.xmit(*dev, pkts, n);
    return true;
}

/// A packet without fault, its next hop known.
void forward_one(input &io, const ip4_burst &burst, unsigned i, std::uint32_t nexthop, rte_mbuf *m) noexcept
{
    std::uint8_t *frame = burst.frame[i];
    const adjacency &adj = *io.nexthops.get(nexthop);
    const unsigned total = load_be16(frame + eth_len + 2);
    if (adj.kind != adjacency_kind::forward) {
        io.divert(adj, m);
    } else if (total > adj.mtu) {
        io.punt(PUNT_TOO_BIG, m);
    } else {
        store(frame + 22, burst.ttl_word[i]);
        io.rewrite(adj, total, m);
    }
}

} // namespace

void ip4_forward(input &io, rte_mbuf **pkts, unsigned n) noexcept
{
    ip4_burst burst;
    std::uint32_t nexthop[input_max];
    const bool sound = ip4_check(burst, io.routes4, io.mac, pkts, n);
    io.routes4.lookup_bulk(burst.dst, nexthop, n);
    if (sound) [[likely]] {
        const bool done = all_equal(nexthop, n) ? rewrite_alike(io, burst, nexthop[0], pkts, n)
                                                : rewrite_each(io, burst, nexthop, pkts, n);
        if (done) [[likely]] {
            return;
        }
    }
    rte_mbuf *ip6[input_max];
    unsigned ip6_count = 0;
    for (unsigned i = 0; i < n; i++) {
        if (burst.fault[i] == 0 && load_mac(burst.frame[i]) == io.mac) {
            forward_one(io, burst, i, nexthop[i], pkts[i]);
        } else if (!classify(io, pkts[i])) {
            ip6[ip6_count++] = pkts[i];
        }
    }
    ip6_forward(io, ip6, ip6_count);
}

} // namespace halfpoll
