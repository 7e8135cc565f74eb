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

class vhost_queue;

/// Classes of packets that go to the kernel. Each is policed by itself, before the ring.
enum punt_class : unsigned {
    PUNT_ARP_ND,     ///< ARP, IPv6 neighbour and router discovery
    PUNT_ROUTING,    ///< routing protocols' packets for the box: BGP, OSPF, BFD, VRRP, …
    PUNT_LOCAL,      ///< other packets addressed to the box
    PUNT_CONTROL,    ///< multicast and link-layer protocols (OSPF, LLDP, …)
    PUNT_RESOLVE,    ///< next hop not resolved
    PUNT_TTL,        ///< TTL or hop limit expired
    PUNT_TOO_BIG,    ///< larger than the egress MTU
    PUNT_OPTIONS,    ///< IPv4 options, IPv6 hop-by-hop
    PUNT_NO_ROUTE,   ///< no route, unreachable, prohibit: the kernel answers
    PUNT_REDIRECT,   ///< leaves by the interface it came in on: a sample, for which the kernel sends ICMP redirects
    PUNT_TABLE_FULL, ///< the route of the packet has no room in a table of the fast path
    PUNT_KERNEL,     ///< that the kernel forwards by its configuration: a filter, a rule, a bridge, a tunnel
    PUNT_OTHER,      ///< anything else that the fast path does not do
    PUNT_CLASSES
};
const char *to_string(punt_class c) noexcept;

/// Limit of a class: a token bucket on each CPU. In PUNT_ARP_ND and PUNT_ROUTING a single source may use a quarter of
/// it, so that a source that floods does not starve the others. All sources that are not known (slow_path::add_known())
/// may use half of it together, so that no number of invented sources starves the known ones. A quarter of the ring
/// towards the kernel is reserved for these two classes.
struct punt_limit {
    unsigned packets_per_second = 10'000;
    unsigned burst = 1'000;
    bool operator==(const punt_limit &) const = default;
};
/// Largest limit, which no CPU reaches.
inline constexpr unsigned PUNT_RATE_MAX = 10'000'000;
inline constexpr unsigned PUNT_BURST_MAX = 1'000'000;
/// Limits by class. 400,000 packets of TCP to the box are more than 4 Gbit/s; redirects are rare. What the
/// kernel forwards by its configuration is limited by the ring alone, of which it may fill half.
struct punt_limits : std::array<punt_limit, PUNT_CLASSES> {
    punt_limits() : array{}
    {
        (*this)[PUNT_LOCAL] = {.packets_per_second = 400'000, .burst = 1'000};
        (*this)[PUNT_REDIRECT] = {.packets_per_second = 10, .burst = 10};
        (*this)[PUNT_KERNEL] = {.packets_per_second = PUNT_RATE_MAX, .burst = PUNT_BURST_MAX};
    }
};

/// The most slow-path threads.
inline constexpr unsigned SLOW_PATH_THREADS_MAX = 16;

struct slow_path_options {
    std::string netns; ///< name under /run/netns or a path; empty: the namespace of the process
    /// 1 to SLOW_PATH_THREADS_MAX. The net_core has at least as many foreign threads. With several, each shadow has a
    /// queue for each of them (IFF_MULTI_QUEUE).
    unsigned threads = 1;
    std::vector<unsigned> affinity; ///< logical CPUs that the threads get in turn; empty: the scheduler chooses
    punt_limits limits;
    unsigned ring_size = 1024; ///< packets from each CPU to each thread that may wait for the kernel, 1 to 2^20
    /// Frames go to and from the shadows by vhost-net (/dev/vhost-net), on a worker of the kernel for each queue, and
    /// not by a system call for each of them.
    bool vhost = false;
};

/// Counters of one shadow, in packets of the wire: a frame that the kernel gets or gives for several packets counts as
/// them, and a malformed one as one.
struct shadow_counts {
    std::uint64_t to_kernel = 0, to_kernel_drops = 0, from_kernel = 0, from_kernel_drops = 0;
};

/// The part of a shadow that one slow-path thread serves.
struct alignas(64) shadow_queue {
    shadow_queue();
    ~shadow_queue();

    // Written by the thread while the control thread waits for that.
    int fd = -1;
    std::unique_ptr<vhost_queue> vhost; ///< carries the frames; null: `fd` does
    /// The kernel interface was deleted. The thread sets it before it posts, with vhost-net the control thread. It is
    /// cleared when the thread gets another interface. Relaxed.
    std::atomic<bool> deleted{false};
    /// As in shadow_counts. Relaxed; the thread writes, any thread reads.
    std::atomic<std::uint64_t> to_kernel{0}, to_kernel_drops{0}, from_kernel{0}, from_kernel_drops{0};
};

/// The TAP interface of a port in the kernel: what the operator configures with `ip`. Control thread, unless a member
/// says otherwise.
struct shadow {
    static constexpr int NO_IFINDEX = -1;

    net_device *dev = nullptr;
    std::string name;                 ///< present name of the interface
    std::string identity;             ///< name under which it was created, and under which the next process finds it
    std::vector<shadow_queue> queues; ///< by slow-path thread
    int kernel_ifindex = NO_IFINDEX;  ///< in the namespace of slow_path_options
    /// The interface is in another namespace; it works there, but the fast path does not follow its configuration.
    bool moved = false;
    bool created = false; ///< this process created the interface; false: it was adopted
    std::string failure;  ///< why there is no kernel interface, else empty
    bool uso = false;     ///< the kernel knows UDP packets that are segmented later (Linux 6.2)
    /// TCP and UDP packets to the kernel may be merged. Written by the control thread, relaxed.
    std::atomic<bool> gro{false}, gro_udp{false};

    /// Sums over the queues. Any thread.
    shadow_counts counts() const noexcept;
    /// Whether a thread has seen that the kernel interface was deleted. Any thread.
    bool deleted() const noexcept;
};

/// The number of packets of a slow_path::punt() by what became of them.
struct punt_result {
    unsigned queued = 0;
    unsigned policed = 0;   ///< dropped as DROP_PUNT_POLICED
    unsigned full = 0;      ///< dropped as DROP_PUNT_FULL
    unsigned no_shadow = 0; ///< the device has no shadow: dropped as DROP_DEV_READY
};

/// Carries packets between the data CPUs and the shadows, on threads of its own, because a write to a TAP runs the
/// kernel's stack on the caller. Each CPU has a single-producer ring towards each thread. With several threads a packet
/// goes by flow_hash_burst() to the one of its flow, so that a flow keeps its order; what belongs to no flow, neighbour
/// discovery and routing protocols go to thread 0. Packets from the kernel go through net_core::foreign_xmit(), those
/// of thread k as producer k. Checksums and segmentation that the kernel leaves to offload are done here; packets of a
/// TCP flow that follow each other go to the kernel as one frame (its GRO). Control thread, unless a member says
/// otherwise.
class slow_path
{
public:
    /// Starts the threads. `core` outlives this object. Throws `error` if an option is out of range, if `core` was made
    /// for fewer foreign threads, or if a thread cannot be started or pinned.
    slow_path(net_core &core, slow_path_options options);
    ~slow_path();
    slow_path(const slow_path &) = delete;
    slow_path &operator=(const slow_path &) = delete;

    /// Creates the shadow of a device, persistent, or adopts the TAP interface that an earlier process left, which has
    /// to be of the same kind: for one thread or for several. Sets MAC and MTU to the device's and the carrier to its
    /// link; brings nothing up. The reference is valid until remove_shadow(). Throws `error` with the remedy
    /// (/dev/net/tun, /dev/vhost-net, CAP_NET_ADMIN, namespace, name in use, another process holds it).
    shadow &add_shadow(net_device &dev, const std::string &name);
    /// Closes a shadow. Blocks until no data CPU can punt to it and the threads have written the packets that were
    /// queued for it. The kernel interface loses its carrier; it is removed if `destroy`, else it stays for the next
    /// process.
    void remove_shadow(shadow &s, bool destroy);
    /// Called on the control thread after another program has deleted the kernel interface of a shadow (`ip link del`).
    /// With vhost-net only look_at() finds that out.
    std::function<void(shadow &)> on_deleted;
    /// Called by look_at() when the name or the namespace of a shadow has changed.
    std::function<void(shadow &)> on_place;
    /// Creates the kernel interface again after it was reported as deleted, without the addresses that it had. Throws
    /// `error`, whose text also stays in `failure`.
    void reopen_shadow(shadow &s);
    /// Removes the persistent kernel interface that was created under `name`, if no process holds it.
    void destroy_released(const std::string &name) noexcept;
    /// Replaces the kernel interface of a port by another one, created or adopted as by add_shadow(). The former one
    /// stays in the kernel, without an owner. Throws `error`. If only the last steps failed, the new interface is in
    /// place, without carrier or with the reason in `failure`; else nothing has changed.
    void exchange_shadow(shadow &s, const std::string &name);
    /// Closes the kernel interface of a port, so that another port can have it. `why` becomes `failure`. What is sent
    /// to it is dropped and counted until exchange_shadow() or reopen_shadow(). Throws `error`; then nothing has
    /// changed.
    void release_shadow(shadow &s, const std::string &why);
    /// Throws `error` if add_shadow() would fail because of the name or because another process holds the interface.
    void check_shadow(const std::string &name);
    /// Changes the name under which the next process finds the interface. Throws `error`.
    void identify(shadow &s, const std::string &name);
    /// Sets the kernel interface's MAC and MTU to the device's. Throws `error`.
    void set_address(shadow &s);
    /// Sets the kernel interface's MAC and MTU back to the device's after the device has refused `mac` or `mtu`, unless
    /// they have been changed again meanwhile. Throws `error`.
    void set_back(shadow &s, const rte_ether_addr &mac, std::uint32_t mtu);
    /// Reads the present name and namespace of a shadow's kernel interface. False: neither has changed. Throws `error`.
    bool look_at(shadow &s);
    /// Reads what the operator allows to be merged for the kernel interface (`ethtool -K`), after a message about it.
    void look_at_offloads(shadow &s);
    /// Whether packets may pass between port and shadow inside the kernel, by set_pass(). They may not by default: they
    /// do not come to the receive handler then. A change concerns later calls. Throws `error` if the namespace of the
    /// shadows does not exist.
    void allow_pass(bool allowed);
    /// Lets packets pass between the shadow's port and the shadow (net_core::set_pass()). None pass if that is not
    /// allowed, or if allow_pass() was called in another namespace than that of the shadows: AF_XDP ports are there.
    void set_pass(const shadow &s, const pass_to_kernel &wanted) noexcept;
    /// net_core::set_pass_address()
    void set_pass_address(const box_address &address, bool passes);
    /// Sets the kernel interface's MTU (bytes of layer 3). Throws `error`.
    void set_mtu(shadow &s, std::uint32_t mtu);
    /// Sets the kernel interface's carrier. Throws `error`.
    void set_carrier(shadow &s, bool up);
    std::vector<shadow *> shadows();
    /// Null if no shadow has that kernel interface.
    shadow *of_kernel_ifindex(int kernel_ifindex) noexcept;
    /// Null if the device has no shadow. Also data CPUs, in a poll.
    shadow *of_device(const net_device &dev) noexcept;

    /// Hands packets that came in on `in` to its shadow, after policing, and takes ownership of them. punt_flush()
    /// wakes the threads. Home CPU of `cpu`.
    punt_result punt(net_cpu &cpu, net_device &in, punt_class c, rte_mbuf **pkts, unsigned n) noexcept;
    /// Whether a packet that the kernel need not see may be punted now (PUNT_REDIRECT). Charges the packet; punt() does
    /// not police PUNT_REDIRECT again. Home CPU of `cpu`.
    bool grant(net_cpu &cpu, punt_class c) noexcept;
    /// Ends a receive handler: wakes the threads to which packets were punted and that sleep. Home CPU of `cpu`.
    void punt_flush(net_cpu &cpu) noexcept;

    /// Marks a source as known to the kernel: a link address (6 bytes), or a host's address in network order (4 or 16
    /// bytes). It is known until it was removed as often as it was added. Of a large number some find no room and stay
    /// unknown.
    void add_known(std::span<const std::uint8_t> address);
    void remove_known(std::span<const std::uint8_t> address) noexcept;
    bool knows(std::span<const std::uint8_t> address) const noexcept;

    /// Sets the limit of a class, from the next burst on. Throws `error` if `burst` is not 1 to 1,000,000,000, and then
    /// changes nothing.
    void set_limit(punt_class c, const punt_limit &limit);

    /// Packets of a class that were queued for the kernel, and that were dropped as over its limit; sums over CPUs. Any
    /// thread.
    std::uint64_t punted(punt_class c) const noexcept;
    std::uint64_t policed(punt_class c) const noexcept;

private:
    struct impl;
    std::unique_ptr<impl> impl_;
};

} // namespace halfpoll
