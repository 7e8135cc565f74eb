// SPDX-License-Identifier: BSD-3-Clause
#include "forward_burst.hpp"
#include "ip4_check.hpp"
#include "punt_classify.hpp"
#include "segments.hpp"

#include <algorithm>

namespace halfpoll
{
namespace
{

const ip4_check_fn ip4_check = ip4_check_levels().front().check;

/// The first 16 bytes of a frame.
using header_words = std::uint16_t __attribute__((vector_size(16)));

/// Writes the link header in one 16-byte store that leaves bytes 14 and 15 unchanged, then TTL and checksum.
void rewrite_frame(const ip4_burst &burst, unsigned i, const adjacency &adj) noexcept
{
    std::uint8_t *frame = burst.frame[i];
    const header_words old = load<header_words>(frame);
    const header_words header = *reinterpret_cast<const header_words *>(adj.rewrite);
    store(frame, static_cast<header_words>(__builtin_shufflevector(old, header, 8, 9, 10, 11, 12, 13, 14, 7)));
    store(frame + 22, burst.ttl_word[i]);
}

/// Result of writing the link headers of a burst.
struct rewritten {
    std::uint64_t left = 0; ///< a bit for each packet that was not rewritten
    bool one_device = true; ///< all packets go out of dev[0]
    /// Of each rewritten packet: from the adjacency that was used, which may be replaced meanwhile.
    net_device *dev[burst_max];
};

/// Rewrites a burst whose packets all have the first packet's next hop and fit its MTU; reads the adjacency once.
/// Returns false, and changes nothing, if they do not.
bool rewrite_alike(const adjacency &adj, const ip4_burst &burst, unsigned n, rewritten &result) noexcept
{
    std::uint32_t differs = 0, longest = 0;
    for (unsigned i = 0; i < n; i++) {
        differs |= burst.nexthop[i] ^ burst.nexthop[0];
        longest = std::max(longest, burst.pkt_len[i]);
    }
    if (differs != 0 || longest > adj.plain_max) {
        return false;
    }
    for (unsigned i = 0; i < n; i++) {
        rewrite_frame(burst, i, adj);
    }
    result.dev[0] = adj.dev;
    return true;
}

/// Rewrites packets from the first on, up to one that goes out of another device or needs more than a plain rewrite.
/// Returns how many.
unsigned rewrite_run(const nexthop_table &nexthops, const ip4_burst &burst, unsigned n, net_device *dev) noexcept
{
    unsigned i = 0;
#pragma GCC unroll 4
    for (; i < n; i++) {
        const adjacency &adj = *nexthops.get(burst.nexthop[i]);
        if (adj.dev != dev || burst.pkt_len[i] > adj.plain_max) {
            break;
        }
        rewrite_frame(burst, i, adj);
    }
    return i;
}

/// Rewrites each packet that a plain rewrite is enough for and sets `left` for the others.
void rewrite_each(const nexthop_table &nexthops, const ip4_burst &burst, unsigned n, rewritten &result) noexcept
{
    net_device *const first = nexthops.get(burst.nexthop[0])->dev;
    const unsigned run = rewrite_run(nexthops, burst, n, first);
    result.dev[0] = first;
    if (run == n) [[likely]] {
        return;
    }
    result.one_device = false;
    std::fill_n(result.dev, run, first);
    for (unsigned i = run; i < n; i++) {
        const adjacency &adj = *nexthops.get(burst.nexthop[i]);
        result.dev[i] = adj.dev;
        if (burst.pkt_len[i] > adj.plain_max) [[unlikely]] {
            result.left |= std::uint64_t{1} << i;
            continue;
        }
        rewrite_frame(burst, i, adj);
    }
}

/// Rewrites a burst without faults. First and last packet nearly always predict which of the two ways is faster.
void rewrite_burst(const nexthop_table &nexthops, const ip4_burst &burst, unsigned n, rewritten &result) noexcept
{
    if (burst.nexthop[0] == burst.nexthop[n - 1] && rewrite_alike(*nexthops.get(burst.nexthop[0]), burst, n, result)) {
        return;
    }
    rewrite_each(nexthops, burst, n, result);
}

/// Rewrites the packets whose next hop is a group, each for the member that takes its flow.
void rewrite_members(const nexthop_table &nexthops, const ip4_burst &burst, rte_mbuf *const *pkts, unsigned n,
                     rewritten &result) noexcept
{
    for (unsigned i = 0; i < n; i++) {
        const adjacency *adj = nexthops.get(burst.nexthop[i]);
        if (!(result.left >> i & 1) || adj->kind != adjacency_kind::group) {
            continue;
        }
        adj = &nexthops.member(*adj, ip4_multipath_hash(nexthops.multipath4(), pkts[i]));
        if (burst.pkt_len[i] <= adj->plain_max) {
            result.left &= ~(std::uint64_t{1} << i);
            result.dev[i] = adj->dev;
            rewrite_frame(burst, i, *adj);
        }
    }
}

/// True if ip4_check() returned false only because frames are longer than their packets, such as short packets padded
/// to Ethernet's minimum frame size.
bool only_padded(const ip4_burst &burst, std::uint64_t mac, unsigned n) noexcept
{
    for (unsigned i = 0; i < n; i++) {
        if (burst.fault[i] != 0 || load_mac(burst.frame[i]) != mac) {
            return false;
        }
    }
    return true;
}

/// Cuts the padding off the packets that were rewritten. It is not part of the packet (RFC 894).
void trim_rewritten(ip4_burst &burst, const rewritten &result, rte_mbuf *const *pkts, unsigned n) noexcept
{
    for (unsigned i = 0; i < n; i++) {
        const std::uint32_t length = eth_len + load_be16(burst.frame[i] + eth_len + 2);
        if (!(result.left >> i & 1) && burst.pkt_len[i] > length) {
            burst.bytes -= burst.pkt_len[i] - length;
            trim(pkts[i], length);
        }
    }
}

/// Follows the route of one packet without fault. `ip4_route()` (classify.cpp) makes the same decisions in another
/// order: here ip4_check() has tested TTL and options, and `admit()` forwarding4 and rp_filter, all before the lookup;
/// there they follow the lookup. A change of one of the two functions needs the same change in the other. The tests at
/// the link (link address, EtherType, interface) stand in `forward_rest()`, ip4_check() and `admit()`, and in another
/// order in classify().
void forward_one(burst_verdicts &io, const ip4_burst &burst, unsigned i, std::uint32_t nexthop, rte_mbuf *m) noexcept
{
    std::uint8_t *frame = burst.frame[i];
    const adjacency &adj = io.next_hop4(nexthop, m);
    const unsigned total = load_be16(frame + eth_len + 2);
    if (adj.kind == adjacency_kind::punt && adj.punt == PUNT_LOCAL) {
        io.punt(ip4_local_class(m, PUNT_LOCAL), m); // RFC 1812 5.2.3
    } else if (adj.kind != adjacency_kind::forward) {
        io.divert(adj, m);
    } else if (total > adj.mtu) {
        io.punt(PUNT_TOO_BIG, m); // RFC 1812 5.2.6: the kernel fragments or sends Fragmentation Needed
    } else if (!io.one_arm(adj) || !io.sample_one_arm(m)) {
        store(frame + 22, burst.ttl_word[i]);
        io.rewrite(adj, total, m);
    }
}

/// Sets `fault` of the packets that the interface does not let pass without a closer look, so that classify() handles
/// them: the interface's state, and the reverse path (RFC 1812 5.3.8, RFC 3704). Returns true if there is none.
bool admit(const burst_verdicts &io, ip4_burst &burst, unsigned n) noexcept
{
    if (!io.from->up || !io.from->forwarding4 || io.from->kernel_only || io.from->kernel4) {
        std::fill_n(burst.fault, n, 1U);
        return false;
    }
    bool all = true;
    for (unsigned i = 0; i < n; i++) {
        const std::uint32_t back = io.routes4.lookup(load_be32(burst.frame[i] + 26));
        if (reverse_path(io.nexthops, *io.from, back) != rp_verdict::pass) {
            burst.fault[i] = 1;
            all = false;
        }
    }
    return all;
}

/// Handles the packets that the burst path did not send, one at a time, starting at `first`.
void forward_rest(burst_verdicts &io, const ip4_burst &burst, const rewritten &result, rte_mbuf **pkts, unsigned first,
                  unsigned n) noexcept
{
    rte_mbuf *ip6[burst_max], *tagged[burst_max];
    unsigned ip6_count = 0, tagged_count = 0;
    for (unsigned i = first; i < n; i++) {
        if (!(result.left >> i & 1)) {
            io.xmit(*result.dev[i], pkts[i]);
        } else if (burst.fault[i] == 0 && load_mac(burst.frame[i]) == io.mac) {
            forward_one(io, burst, i, burst.nexthop[i], pkts[i]);
        } else if (const unclassified what = classify(io, pkts[i]); what == unclassified::ip6) {
            ip6[ip6_count++] = pkts[i];
        } else if (what == unclassified::tagged) {
            tagged[tagged_count++] = pkts[i];
        }
    }
    ip6_forward(io, ip6, ip6_count);
    if (tagged_count != 0) {
        vlan_input(io, tagged, tagged_count);
    }
}

} // namespace

void forward_burst(burst_verdicts &io, rte_mbuf **pkts, unsigned n) noexcept
{
    ip4_burst burst;
    bool sound = ip4_check(burst, io.routes4, io.mac, pkts, n);
    const bool padded = !sound && only_padded(burst, io.mac, n);
    sound |= padded;
    io.sample_use(burst.nexthop, n);
    if (!io.plain) [[unlikely]] {
        sound &= admit(io, burst, n);
    }
    rewritten result;
    if (sound) [[likely]] {
        if (io.one_arm(*io.nexthops.get(burst.nexthop[0])) && io.sample_one_arm(pkts[0])) [[unlikely]] {
            result.left = ~std::uint64_t{0};
            return forward_rest(io, burst, result, pkts, 1, n);
        }
        rewrite_burst(io.nexthops, burst, n, result);
        const bool whole = result.left == 0 && result.one_device;
        if (!whole) {
            rewrite_members(io.nexthops, burst, pkts, n, result);
        }
        if (padded) [[unlikely]] {
            trim_rewritten(burst, result, pkts, n);
        }
        if (whole) [[likely]] {
            return io.xmit(*result.dev[0], pkts, n, burst.bytes);
        }
    } else {
        result.left = ~std::uint64_t{0};
    }
    forward_rest(io, burst, result, pkts, 0, n);
}

} // namespace halfpoll
