// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "forwarder.hpp"
#include "multipath_hash.hpp"
#include "wire.hpp"

#include <rte_mbuf.h>

#include <cstdint>

namespace halfpoll
{

/// What the stages share about one burst: the tables, the interface that its packets were received on, and the
/// decisions about the packets, which are collected so that consecutive packets with the same decision cost one call.
/// Lives on the stack of the home CPU.
class burst_verdicts
{
public:
    /// `port`: null if none of its interfaces is known.
    burst_verdicts(const fib4 &routes4_, const fib6 &routes6_, const nexthop_table &nexthops_, const rx_port *port_,
                   rx_stats &stats_, slow_path *slow, net_cpu &cpu, net_device &in) noexcept
        : routes4(routes4_), routes6(routes6_), nexthops(nexthops_), port(port_),
          from(port_ ? &port_->untagged : nullptr), stats(stats_), mac(from ? from->mac : load_mac(in.mac.addr_bytes)),
          plain(!from || from->plain()), slow_(slow), cpu_(cpu), in_(in), one_arm_(from ? from->oif : no_interface)
    {
    }
    /// For another interface on the same port: packets of the burst `outer` whose tags vlan_input() has taken off.
    burst_verdicts(const burst_verdicts &outer, const rx_interface &from_) noexcept
        : routes4(outer.routes4), routes6(outer.routes6), nexthops(outer.nexthops), port(nullptr), from(&from_),
          stats(outer.stats), mac(from_.mac), plain(from_.plain()), slow_(outer.slow_), cpu_(outer.cpu_),
          in_(outer.in_), one_arm_(from_.oif)
    {
    }
    ~burst_verdicts() { finish(); }
    burst_verdicts(const burst_verdicts &) = delete;
    burst_verdicts &operator=(const burst_verdicts &) = delete;

    void xmit(net_device &dev, rte_mbuf *m) noexcept { add(fate{fate::sent, 0, &dev}, m); }
    void punt(unsigned punt_class, rte_mbuf *m) noexcept { add(fate{fate::punted, punt_class, nullptr}, m); }
    void drop(unsigned reason, rte_mbuf *m) noexcept { add(fate{fate::dropped, reason, nullptr}, m); }
    /// Sends a whole burst of `bytes` bytes at once.
    void xmit(net_device &dev, rte_mbuf **pkts, unsigned n, std::uint64_t bytes) noexcept
    {
        flush();
        dev_queue_xmit(cpu_, dev, pkts, n, bytes);
    }
    /// Follows an adjacency whose kind is not `forward`.
    void divert(const adjacency &adj, rte_mbuf *m) noexcept
    {
        adj.kind == adjacency_kind::drop ? drop(adj.drop, m) : punt(adj.punt, m);
    }
    /// True if `adj` sends the packet out of the interface that it came in on: its sender may deserve an ICMP redirect
    /// (RFC 1812 5.2.7.2).
    bool one_arm(const adjacency &adj) const noexcept { return adj.oif == one_arm_; }
    /// If the rate of PUNT_REDIRECT allows another sample, punts such a packet: the kernel forwards it and sends the
    /// redirect. Otherwise returns false, and the caller still owns the packet.
    bool sample_one_arm(rte_mbuf *m) noexcept;
    /// Writes the link header of `adj`, cuts the packet off after the `l3_len` bytes that its IP header states, and
    /// sends it. The caller has checked the MTU and decremented the TTL or hop limit.
    void rewrite(const adjacency &adj, std::uint32_t l3_len, rte_mbuf *m) noexcept;

    /// The adjacency for a packet whose lookup gave `index`; if that is a group, the member that takes the packet's
    /// flow.
    const adjacency &next_hop4(std::uint32_t index, const rte_mbuf *m) const noexcept
    {
        const adjacency &adj = *nexthops.get(index);
        return adj.kind == adjacency_kind::group ? nexthops.member(adj, ip4_multipath_hash(nexthops.multipath4(), m))
                                                 : adj;
    }
    const adjacency &next_hop6(std::uint32_t index, const rte_mbuf *m) const noexcept
    {
        const adjacency &adj = *nexthops.get(index);
        return adj.kind == adjacency_kind::group ? nexthops.member(adj, ip6_multipath_hash(nexthops.multipath6(), m))
                                                 : adj;
    }
    /// Marks one next hop of a burst as used. The choice is scattered over the burst from call to call, so that each
    /// next hop in use is marked in time.
    void sample_use(const std::uint32_t *indices, unsigned n) const noexcept
    {
        const std::uint64_t count = cpu_.dev[in_.ifindex].rx_packets.load(std::memory_order_relaxed);
        const std::uint32_t scattered = static_cast<std::uint32_t>(count) * 0x9E3779B1U;
        nexthops.mark_used(indices[std::uint64_t{scattered} * n >> 32]);
    }

    const fib4 &routes4;
    const fib6 &routes6;
    const nexthop_table &nexthops;
    const rx_port *const port;      ///< finds the interface of tagged packets; null: none is known
    const rx_interface *const from; ///< the interface of the packets; null: not known, all interface checks are off
    rx_stats &stats;
    const std::uint64_t mac; ///< link address of the ingress interface
    const bool plain;        ///< rx_interface::plain()

private:
    static constexpr std::uint32_t no_interface = UINT32_MAX;
    struct fate {
        enum : unsigned { none, sent, punted, dropped } kind = none;
        unsigned detail = 0;
        net_device *dev = nullptr;
        bool operator==(const fate &) const = default;
    };
    void add(const fate &f, rte_mbuf *m) noexcept
    {
        if (count_ == burst_max || !(f == fate_)) {
            flush();
            fate_ = f;
        }
        pkts_[count_++] = m;
    }
    void flush() noexcept;
    void finish() noexcept;
    void flush_punted(unsigned n) noexcept;

    slow_path *slow_;
    net_cpu &cpu_;
    net_device &in_;
    const std::uint32_t one_arm_; ///< rx_interface::oif of the ingress interface
    bool punted_ = false;
    fate fate_;
    unsigned count_ = 0;
    rte_mbuf *pkts_[burst_max];
};

} // namespace halfpoll
