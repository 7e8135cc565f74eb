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

/// The forwarder's own drop reasons, after netio's.
enum forward_drop_reason : unsigned {
    DROP_OTHERHOST = DROP_NETIO_MAX, ///< unicast to another link address
    DROP_FRAME_SHORT,                ///< shorter than its headers say
    DROP_IP_VERSION,                 ///< version or header length wrong (RFC 1812 5.2.2)
    DROP_IP_LENGTH,                  ///< total length wrong (RFC 1812 5.2.2)
    DROP_IP_CSUM,                    ///< IPv4 header checksum wrong (RFC 1812 5.2.2)
    DROP_IP_SRC,                     ///< source that must not be forwarded (RFC 1812 5.3.7, RFC 4291 2.5)
    DROP_IP_DST,                     ///< destination that must not be forwarded
    DROP_BLACKHOLE,                  ///< blackhole route
    DROP_NO_SHADOW,                  ///< to be punted, but the port has no shadow
    DROP_REVERSE_PATH,               ///< its source is not where it came from (rp_filter, RFC 3704)
    DROP_NOT_FORWARDING,             ///< forwarding is off on the interface
    DROP_INTERFACE_DOWN,             ///< the interface is administratively down
    DROP_VLAN,                       ///< no interface has its VLAN tags
    DROP_FORWARD_MAX
};
static_assert(DROP_FORWARD_MAX <= DROP_REASONS);

/// Name of any reason, netio's or the forwarder's; null beyond.
const char *drop_reason_name(unsigned reason) noexcept;

/// What came in on one interface, on one CPU. Home CPU writes, anyone reads, relaxed. IPv4 is what is neither of these.
struct alignas(64) rx_stats {
    std::atomic<std::uint64_t> ip6{0};
    std::atomic<std::uint64_t> other{0}; ///< ARP, unknown, too short, for another station
    std::array<std::atomic<std::uint64_t>, PUNT_CLASSES> punted{};
    std::array<std::atomic<std::uint64_t>, DROP_REASONS> dropped{};
};

/// The same as numbers, of all CPUs.
struct rx_counts {
    std::uint64_t ip4 = 0, ip6 = 0, other = 0;
    std::array<std::uint64_t, PUNT_CLASSES> punted{};
    std::array<std::uint64_t, DROP_REASONS> dropped{};
};

/// Room in the tables: each bounds memory.
struct table_sizes {
    std::uint32_t nexthops = nexthop_table::max_nexthops;
    unsigned groups4 = fib4::default_groups; ///< of 256 prefixes longer than /24
    unsigned groups6 = fib6::default_groups;
};

/// The fast path of an IPv4/IPv6 router: checks (RFC 1812, RFC 8200), lookup, rewrite, xmit; the rest goes to the slow
/// path. One writer of the tables (the control thread), all data cores read.
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

    /// Frees what grace periods have released. True if nothing is left to free. Control thread, now and then and after
    /// bulk changes.
    bool reclaim();
    /// Defers `fn` past a grace period. Control thread; returns at once.
    void retire(std::function<void()> fn);

    /// What became of what came in on an interface; any thread.
    rx_counts counts(ifindex_t ifindex) const;

    /// rx_handler: net_core::set_rx_handler(forwarder::receive, this).
    static void receive(void *ctx, net_cpu &cpu, net_device &in, rte_mbuf **pkts, unsigned n) noexcept;
    /// "sse4.2", "avx2" or "avx512": what this machine runs.
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
