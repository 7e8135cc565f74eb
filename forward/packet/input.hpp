// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "forwarder.hpp"
#include "multipath_hash.hpp"

#include <rte_mbuf.h>

#include <bit>
#include <cstdint>
#include <cstring>

namespace halfpoll
{

static_assert(std::endian::native == std::endian::little, "headers are read as little-endian words");

inline constexpr unsigned input_max = 64; ///< packets in a burst
inline constexpr unsigned eth_len = 14;
inline constexpr unsigned ip4_len = 20; ///< without options
inline constexpr unsigned ip6_len = 40;
inline constexpr std::uint16_t ethertype_ip4 = 0x0800, ethertype_ip6 = 0x86DD, ethertype_arp = 0x0806;
inline constexpr std::uint16_t ethertype_vlan = 0x8100, ethertype_qinq = 0x88A8;

template <typename T>
T load(const void *p) noexcept
{
    T v;
    std::memcpy(&v, p, sizeof v);
    return v;
}
template <typename T>
void store(void *p, T v) noexcept
{
    std::memcpy(p, &v, sizeof v);
}
inline std::uint16_t load_be16(const void *p) noexcept { return __builtin_bswap16(load<std::uint16_t>(p)); }
inline std::uint32_t load_be32(const void *p) noexcept { return __builtin_bswap32(load<std::uint32_t>(p)); }

/// A link address in the low 48 bits.
inline std::uint64_t load_mac(const void *p) noexcept
{
    return load<std::uint32_t>(p) | std::uint64_t{load<std::uint16_t>(static_cast<const std::uint8_t *>(p) + 4)} << 32;
}

inline std::uint8_t *frame_of(rte_mbuf *m) noexcept { return rte_pktmbuf_mtod(m, std::uint8_t *); }

/// Collects what becomes of the packets of one burst, so that runs of equal fate cost one call. Home CPU, on the stack.
class input
{
public:
    /// `port`: null if nothing is known of its interfaces.
    input(const fib4 &routes4_, const fib6 &routes6_, const nexthop_table &nexthops_, const rx_port *port_,
          rx_stats &stats_, slow_path *slow, net_cpu &cpu, net_device &in) noexcept
        : routes4(routes4_), routes6(routes6_), nexthops(nexthops_), port(port_),
          from(port_ ? &port_->untagged : nullptr), stats(stats_), mac(from ? from->mac : load_mac(in.mac.addr_bytes)),
          plain(!from || from->plain()), slow_(slow), cpu_(cpu), in_(in), one_arm_(from ? from->oif : no_interface)
    {
    }
    /// Of another interface on the same port, for packets of a burst from which the tags were taken.
    input(const input &outer, const rx_interface &from_) noexcept
        : routes4(outer.routes4), routes6(outer.routes6), nexthops(outer.nexthops), port(nullptr), from(&from_),
          stats(outer.stats), mac(from_.mac), plain(from_.plain()), slow_(outer.slow_), cpu_(outer.cpu_),
          in_(outer.in_), one_arm_(from_.oif)
    {
    }
    ~input() { finish(); }
    input(const input &) = delete;
    input &operator=(const input &) = delete;

    void xmit(net_device &dev, rte_mbuf *m) noexcept { add(fate{fate::sent, 0, &dev}, m); }
    void punt(unsigned punt_class, rte_mbuf *m) noexcept { add(fate{fate::punted, punt_class, nullptr}, m); }
    void drop(unsigned reason, rte_mbuf *m) noexcept { add(fate{fate::dropped, reason, nullptr}, m); }
    /// A whole burst of that many bytes at once.
    void xmit(net_device &dev, rte_mbuf **pkts, unsigned n, std::uint64_t bytes) noexcept
    {
        flush();
        dev_queue_xmit(cpu_, dev, pkts, n, bytes);
    }
    /// Follows an adjacency that is not `forward`.
    void divert(const adjacency &adj, rte_mbuf *m) noexcept
    {
        adj.kind == adjacency_kind::drop ? drop(adj.drop, m) : punt(adj.punt, m);
    }
    /// Sent out of `adj` a packet would go back to where it came from: its sender may deserve a redirect.
    bool one_arm(const adjacency &adj) const noexcept { return adj.oif == one_arm_; }
    /// Gives such a packet to the kernel, which forwards it and tells the sender, if it is time for another sample.
    /// False: the caller still owns it.
    bool sample_one_arm(rte_mbuf *m) noexcept;
    /// The packet fits, its TTL is taken care of: gives it the adjacency's link header, ends it after `l3_len` bytes,
    /// what the IP header says, and sends it.
    void rewrite(const adjacency &adj, std::uint32_t l3_len, rte_mbuf *m) noexcept;

    /// What to do with a packet that the lookup gave this index: of a group the member that takes its flow.
    const adjacency &next_hop4(std::uint32_t index, const rte_mbuf *m) const noexcept
    {
        const adjacency &adj = *nexthops.get(index);
        return adj.kind == adjacency_kind::group ? nexthops.member(adj, ip4_multipath_hash(m)) : adj;
    }
    const adjacency &next_hop6(std::uint32_t index, const rte_mbuf *m) const noexcept
    {
        const adjacency &adj = *nexthops.get(index);
        return adj.kind == adjacency_kind::group ? nexthops.member(adj, ip6_multipath_hash(m)) : adj;
    }
    /// Marks one of the next hops of a burst as in use; another one each time.
    void sample_use(const std::uint32_t *indices, unsigned n) const noexcept
    {
        const std::uint64_t count = cpu_.dev[in_.ifindex].rx_packets.load(std::memory_order_relaxed);
        const std::uint32_t scattered = static_cast<std::uint32_t>(count) * 0x9E3779B1U;
        nexthops.mark_used(indices[std::uint64_t{scattered} * n >> 32]);
    }

    const fib4 &routes4;
    const fib6 &routes6;
    const nexthop_table &nexthops;
    const rx_port *const port;      ///< to find tagged packets' interface; null: none is known
    const rx_interface *const from; ///< the packets' interface; null: not known, every check is off
    rx_stats &stats;
    const std::uint64_t mac; ///< of the ingress interface
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
        if (count_ == input_max || !(f == fate_)) {
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
    const std::uint32_t one_arm_; ///< oif of what goes back
    bool punted_ = false;
    fate fate_;
    unsigned count_ = 0;
    rte_mbuf *pkts_[input_max];
};

/// IPv4 packets addressed to us, in bulk; whatever is not plain goes to classify().
void ip4_forward(input &io, rte_mbuf **pkts, unsigned n) noexcept;
/// IPv6 packets addressed to us at the link.
void ip6_forward(input &io, rte_mbuf **pkts, unsigned n) noexcept;
/// What classify() left to the caller.
enum class unclassified {
    none,   ///< nothing: the packet has gone
    ip6,    ///< IPv6, addressed to us
    tagged, ///< with a VLAN tag
};
/// One packet that the group stage did not take.
unclassified classify(input &io, rte_mbuf *m) noexcept;
/// Packets with VLAN tags: takes them off and goes on with the interface that they name.
void vlan_input(input &io, rte_mbuf **pkts, unsigned n) noexcept;
/// Puts the tags back that vlan_input() took off; false: no room.
bool vlan_restore(const rx_interface &from, rte_mbuf *m) noexcept;
/// The class of an IPv4 or IPv6 packet for the box, or for all routers: routing protocols have their own.
unsigned ip4_local_class(rte_mbuf *m, unsigned otherwise) noexcept;
unsigned ip6_local_class(rte_mbuf *m, unsigned otherwise) noexcept;
/// A frame with an LLC header of IS-IS.
bool is_isis(rte_mbuf *m) noexcept;
/// An IPv6 frame with an ICMPv6 type of neighbour or router discovery (RFC 4861).
bool is_neighbour_discovery(rte_mbuf *m) noexcept;
/// Ends a packet after `length` bytes, in whatever segment that is.
void trim(rte_mbuf *m, std::uint32_t length) noexcept;
/// The slow half of pull(): moves bytes of further segments into the first.
bool pull_tail(rte_mbuf *m, unsigned want) noexcept;
/// Makes `want` bytes contiguous. False: the packet has fewer, or its first segment is too small for them.
inline bool pull(rte_mbuf *m, unsigned want) noexcept { return m->data_len >= want || pull_tail(m, want); }

} // namespace halfpoll
