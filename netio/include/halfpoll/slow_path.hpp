// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/net_core.hpp>

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace halfpoll
{

/// Classes of packets that go to the kernel, each policed on its own before the ring.
enum punt_class : unsigned {
    PUNT_ARP_ND,     ///< ARP, IPv6 neighbour and router discovery
    PUNT_ROUTING,    ///< routing protocols' packets for the box: BGP, OSPF, BFD, VRRP, …
    PUNT_LOCAL,      ///< others addressed to the box
    PUNT_CONTROL,    ///< multicast and link-layer protocols (OSPF, LLDP, …)
    PUNT_RESOLVE,    ///< next hop not resolved
    PUNT_TTL,        ///< TTL or hop limit expired
    PUNT_TOO_BIG,    ///< larger than the egress MTU
    PUNT_OPTIONS,    ///< IPv4 options, IPv6 hop-by-hop
    PUNT_NO_ROUTE,   ///< no route, unreachable, prohibit: the kernel answers
    PUNT_REDIRECT,   ///< leaves where it came from: a sample, for which the kernel sends ICMP redirects
    PUNT_TABLE_FULL, ///< its route has no room in a table of the fast path
    PUNT_OTHER,      ///< anything else the fast path does not do
    PUNT_CLASSES
};
const char *to_string(punt_class c) noexcept;

/// A token bucket per class and CPU. Of PUNT_ARP_ND and PUNT_ROUTING a single source may use a quarter, so that one
/// that floods does not keep the others out, and all sources that are not known (slow_path::add_known()) a half, so
/// that no number of invented ones keeps out those that are; and a quarter of the ring towards the kernel is theirs.
struct punt_limit {
    unsigned packets_per_second = 10'000;
    unsigned burst = 1'000;
    bool operator==(const punt_limit &) const = default;
};
/// By class. TCP to the box needs more than 100 Mbit/s; redirects are few.
struct punt_limits : std::array<punt_limit, PUNT_CLASSES> {
    punt_limits() : array{}
    {
        (*this)[PUNT_LOCAL] = {.packets_per_second = 100'000, .burst = 1'000};
        (*this)[PUNT_REDIRECT] = {.packets_per_second = 10, .burst = 10};
    }
};

struct slow_path_options {
    std::string netns; ///< name under /run/netns or a path; empty: the namespace of the process
    int affinity = -1; ///< logical CPU of the slow-path thread; -1: wherever the system puts it
    punt_limits limits;
    unsigned ring_size = 1024; ///< per CPU, towards the kernel
};

/// Counters of one shadow; relaxed atomics, written by the slow-path thread.
struct shadow_stats {
    std::atomic<std::uint64_t> to_kernel{0}, to_kernel_drops{0}, from_kernel{0}, from_kernel_drops{0};
};

/// A port's TAP interface in the kernel: what people configure with `ip`.
struct shadow {
    static constexpr int NO_IFINDEX = -1;

    net_device *dev = nullptr;
    std::string name;     ///< that the interface has now
    std::string identity; ///< that it was made under, by which the next process finds it
    int fd = -1;
    int kernel_ifindex = NO_IFINDEX; ///< in the namespace
    bool moved = false;              ///< it is in another namespace, where it works: the fast path has no part in that
    bool created = false;            ///< by this process: false if adopted
    /// The kernel interface was deleted. Set by the slow-path thread before it posts, cleared by reopen_shadow():
    /// relaxed.
    std::atomic<bool> deleted{false};
    std::string failure; ///< why there is no kernel interface, else empty. Control thread
    shadow_stats stats;
};

/// Carries packets between the data cores and the shadows, on a thread of its own: a TAP write runs the kernel's stack.
/// One single-producer ring per CPU towards it; back through net_core::foreign_xmit(). The kernel's checksum offload is
/// completed here; segmentation offload stays off.
class slow_path
{
public:
    /// Starts the thread. Throws `error` with the remedy (/dev/net/tun, CAP_NET_ADMIN, namespace). Control thread.
    slow_path(net_core &core, slow_path_options options);
    ~slow_path();
    slow_path(const slow_path &) = delete;
    slow_path &operator=(const slow_path &) = delete;

    /// Creates the shadow, persistent, or adopts one that a predecessor left; sets MAC and MTU to the device's, carrier
    /// to its link, and brings nothing up. Control thread; throws `error`.
    shadow &add_shadow(net_device &dev, const std::string &name);
    /// Lets go of it: carrier down, and removed from the kernel if `destroy`. Control thread.
    void remove_shadow(shadow &s, bool destroy);
    /// Called on the control thread after somebody has deleted a shadow's kernel interface (`ip link del`).
    std::function<void(shadow &)> on_deleted;
    /// Called by look_at() when it has found something new.
    std::function<void(shadow &)> on_place;
    /// Makes a kernel interface that was reported as deleted again, without the addresses it had. Throws `error`, which
    /// also stays in `failure`. Control thread.
    void reopen_shadow(shadow &s);
    /// Removes the kernel interface of a shadow that was let go of. Control thread.
    void destroy_released(const std::string &name) noexcept;
    /// Gives a port another kernel interface, made or adopted as by add_shadow(), in the place of the present one,
    /// which stays in the kernel and is let go of. Throws `error`, and changes nothing then. Control thread.
    void exchange_shadow(shadow &s, const std::string &name);
    /// Lets go of the kernel interface, so that another port can have it. What is sent to it is dropped and counted,
    /// until exchange_shadow() or reopen_shadow(). Throws `error`. Control thread.
    void release_shadow(shadow &s, const std::string &why);
    /// Throws `error` if add_shadow() would because of the name or who has it. Control thread.
    void check_shadow(const std::string &name);
    /// Another name under which the next process finds it. Throws `error`. Control thread.
    void identify(shadow &s, const std::string &name);
    /// Sets the kernel interface's MAC and MTU to the device's. Throws `error`. Control thread.
    void set_address(shadow &s);
    /// Looks what a shadow's kernel interface is called now, and whether it was moved to another namespace or is back.
    /// False: nothing has changed. Throws `error`. Control thread.
    bool look_at(shadow &s);
    /// Sets the kernel interface's MTU. Control thread; throws `error`.
    void set_mtu(shadow &s, std::uint32_t mtu);
    /// Follows the device's carrier. Control thread.
    void set_carrier(shadow &s, bool up);
    std::vector<shadow *> shadows();
    shadow *of_kernel_ifindex(int kernel_ifindex) noexcept;
    shadow *of_device(const net_device &dev) noexcept;

    /// Hands packets (consumed) that came in on `in` to its shadow, after policing; a doorbell per poll by
    /// punt_flush(). Returns how many went there. Home CPU.
    unsigned punt(net_cpu &cpu, net_device &in, punt_class c, rte_mbuf **pkts, unsigned n) noexcept;
    /// Whether a packet that could do without may be punted now: charged here, and punt() polices PUNT_REDIRECT no
    /// more.
    bool grant(net_cpu &cpu, punt_class c) noexcept;
    /// End of the receive handler: wakes the thread if something was punted and it sleeps. Home CPU.
    void punt_flush(net_cpu &cpu) noexcept;

    /// A source that the kernel knows: a link address (6 bytes), or a host's in network order (4 or 16). It is known
    /// until it was removed as often as it was added. Control thread.
    void add_known(std::span<const std::uint8_t> address);
    void remove_known(std::span<const std::uint8_t> address) noexcept;
    bool knows(std::span<const std::uint8_t> address) const noexcept;

    /// Another limit for a class, from the next burst on. Control thread; throws `error` out of range.
    void set_limit(punt_class c, const punt_limit &limit);

    /// Sums over CPUs, any thread.
    std::uint64_t punted(punt_class c) const noexcept;
    std::uint64_t policed(punt_class c) const noexcept;

private:
    struct impl;
    std::unique_ptr<impl> impl_;
};

} // namespace halfpoll
