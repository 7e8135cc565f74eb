// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "forward/tables/fib.hpp"
#include "forward/tables/interface_table.hpp"
#include "forward/tables/nexthop.hpp"

#include <halfpoll/net_core.hpp>
#include <halfpoll/slow_path.hpp>

#include <array>
#include <atomic>
#include <memory>
#include <vector>

namespace halfpoll
{

/// The forwarder's own drop reasons; they follow netio's.
enum forward_drop_reason : unsigned {
    DROP_OTHERHOST = DROP_NETIO_MAX, ///< unicast to another link address
    DROP_FRAME_SHORT,                ///< shorter than its headers say (RFC 1812 5.2.2 (1))
    DROP_IP_VERSION,                 ///< version or header length wrong (RFC 1812 5.2.2 (3), (4); RFC 8200 section 3)
    DROP_IP_LENGTH, ///< total length wrong (RFC 1812 5.2.2 (5), RFC 791 3.1), payload length wrong (RFC 8200 section 3)
    DROP_IP_CSUM,   ///< IPv4 header checksum wrong (RFC 1812 5.2.2 (2))
    DROP_IP_SRC,    ///< source that is never forwarded (RFC 1812 5.3.7; RFC 4291 2.5.2, 2.5.3, 2.7)
    DROP_IP_DST,    ///< destination that is never forwarded (RFC 1812 5.3.7; RFC 4291 2.5.2, 2.5.3)
    DROP_BLACKHOLE, ///< blackhole route
    DROP_NO_SHADOW, ///< should be punted, but there is no slow path
    DROP_REVERSE_PATH,   ///< failed the reverse-path check (rp_filter, RFC 3704)
    DROP_NOT_FORWARDING, ///< forwarding is off on the interface
    DROP_INTERFACE_DOWN, ///< the interface is administratively down
    DROP_VLAN,           ///< no interface has the frame's VLAN tags
    DROP_FORWARD_MAX
};
static_assert(DROP_FORWARD_MAX <= DROP_REASONS);

/// Name of a reason of netio or of the forwarder; null for any other number.
const char *drop_reason_name(unsigned reason) noexcept;

/// Counters of the packets received on one interface by one CPU. The home CPU writes, any thread reads, relaxed. IPv4
/// packets are not counted: they are all those that neither `ip6` nor `other` counts.
struct alignas(64) rx_stats {
    std::atomic<std::uint64_t> ip6{0};
    std::atomic<std::uint64_t> other{0}; ///< ARP, unknown EtherType, too short, for another station
    std::array<std::atomic<std::uint64_t>, PUNT_CLASSES> punted{};
    std::array<std::atomic<std::uint64_t>, DROP_REASONS> dropped{};
};

/// Sums of `rx_stats` over all CPUs.
struct rx_counts {
    std::uint64_t ip4 = 0, ip6 = 0, other = 0;
    std::array<std::uint64_t, PUNT_CLASSES> punted{};
    std::array<std::uint64_t, DROP_REASONS> dropped{};
};

/// Most packets of one call of forwarder::receive().
inline constexpr unsigned burst_max = 64;

/// Capacities of the tables. Each bounds memory.
struct table_sizes {
    std::uint32_t nexthops = nexthop_table::max_nexthops;
    unsigned groups4 = fib4::default_groups; ///< of 256 entries each, for prefixes longer than /24
    unsigned groups6 = fib6::default_groups;
};

/// The fast path of an IPv4/IPv6 router: header checks (RFC 1812, RFC 8200), lookup, rewrite, transmit. All other
/// packets go to the slow path. The control thread is the only writer of the tables; all data CPUs read them.
class forwarder
{
public:
    /// `slow` may be null (benchmarks): punts are then dropped as DROP_NO_SHADOW.
    forwarder(net_core &core, slow_path *slow, const table_sizes &sizes = {});
    ~forwarder();

    fib4 &routes4() noexcept { return *fib4_; }
    fib6 &routes6() noexcept { return *fib6_; }
    nexthop_table &nexthops() noexcept { return *nexthops_; }
    interface_table &interfaces() noexcept { return *interfaces_; }
    net_core &core() noexcept { return core_; }

    /// Runs the deferred functions whose grace period has ended. Returns true if none is left. Control thread,
    /// periodically and after bulk changes.
    bool reclaim();
    /// Defers `fn` until a grace period has ended. Control thread; returns at once.
    void retire(std::function<void()> fn);

    /// Counters of the packets received on an interface, summed over CPUs. Any thread.
    rx_counts counts(ifindex_t ifindex) const;

    /// Receive handler: net_core::set_rx_handler(forwarder::receive, this).
    static void receive(void *ctx, net_cpu &cpu, net_device &in, rte_mbuf **pkts, unsigned n) noexcept;
    /// The SIMD level that this machine runs: "sse4.2", "avx2" or "avx512"; "base" where it is not x86-64.
    static const char *simd() noexcept;

private:
    net_core &core_;
    slow_path *slow_;
    struct deferred;
    std::unique_ptr<deferred> deferred_;
    std::unique_ptr<nexthop_table> nexthops_;
    std::unique_ptr<fib4> fib4_;
    std::unique_ptr<fib6> fib6_;
    std::unique_ptr<interface_table> interfaces_;
    std::vector<std::unique_ptr<rx_stats[]>> stats_; ///< by CPU, then by ifindex
};

} // namespace halfpoll
