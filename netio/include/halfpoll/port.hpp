// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/error.hpp>
#include <halfpoll/ktime.hpp>
#include <halfpoll/wait_engine.hpp>

#include <rte_ether.h>

#include <array>
#include <cerrno>
#include <compare>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

struct rte_mbuf;
struct rte_mempool;

namespace halfpoll
{

/// Properties of a device that are known before it is opened.
struct port_info {
    std::string driver; ///< "net_virtio_user", "af_xdp", …
    std::string device; ///< name for messages: "af_xdp:eth0", "0000:01:00.0"; empty: the interface's name is used
    rte_ether_addr mac{};
    unsigned max_rx_queues = 1;
    unsigned max_tx_queues = 1;
    std::uint32_t min_mtu = 68;
    std::uint32_t max_mtu = 1500;
    unsigned rx_descriptors = 0; ///< per queue, once it is open; 0: unknown
};

struct link_state {
    bool up = false;
    std::uint32_t speed_mbps = 0; ///< 0: unknown
};

/// Counters of the device itself. Each counts from the last open(), rx_nohandler from the construction of the port.
struct port_counters {
    std::uint64_t rx_packets = 0, rx_bytes = 0, rx_missed = 0, rx_errors = 0;
    /// Packets or attempts (DPDK's drivers count each attempt) for which no receive buffer was free.
    std::uint64_t rx_nombuf = 0;
    std::uint64_t rx_nohandler = 0; ///< dropped: arrived on a queue that the port does not serve
    std::uint64_t tx_packets = 0, tx_bytes = 0, tx_errors = 0;
    /// Packets that passed the runtime inside the kernel (port::set_pass()); the other counters do not include them.
    std::uint64_t passed_in = 0, passed_out = 0;
};

/// An IPv6 address, or an IPv4 address as ::ffff:a.b.c.d.
using box_address = std::array<std::uint8_t, 16>;

/// Which packets of a device pass the runtime: the kernel brings them from the device to its stack and back by itself.
struct pass_to_kernel {
    bool ip4 = false, ip6 = false; ///< untagged unicast packets of the family that come in
    bool tcp_of_box = false;       ///< untagged packets of TCP to port::pass_address() that come in
    int shadow = 0;                ///< kernel ifindex of the interface by which the stack receives them
    bool out = false;              ///< if a family passes: all that the stack sends by that interface, too
    bool operator==(const pass_to_kernel &) const = default;
};

struct port_options {
    unsigned rx_queues = 1;
    unsigned tx_queues = 1;
    unsigned descriptors = 1024;       ///< per ring; the driver may choose another number
    std::uint32_t mtu = 1500;          ///< bytes of layer 3
    rte_mempool *pool = nullptr;       ///< receive buffers; outlives the port
    std::optional<rte_ether_addr> mac; ///< address to use instead of the device's own; a driver may ignore it
};

/// How an rx queue can wait. fd < 0: there is no interrupt, and `reason` (a static string) says why. The port owns the
/// fd, which is valid until close().
struct rx_wait {
    int fd = -1;
    source_kind kind = source_kind::multishot;
    const char *reason = "";
};

/// A TCP or UDP flow that a device can match. Addresses and ports are in network order; an IPv4 address is in the first
/// four bytes.
struct flow_tuple {
    bool ip6 = false;
    std::uint8_t protocol = 0;
    std::array<std::uint8_t, 16> src{}, dst{};
    std::uint16_t sport = 0, dport = 0;
    auto operator<=>(const flow_tuple &) const = default;
};
inline constexpr int RX_FLOW_FILTERS_MAX = 65535;

enum class port_event {
    link,       ///< the link may have changed
    queues,     ///< the number of the device's queues has changed: the port must be closed and opened again
    removed,    ///< the device is being removed or is gone: the port must be closed and destroyed
    reset,      ///< the device needs close(), reset() and open()
    recovering, ///< the driver is repairing the device: no call until `recovered` or `failed`
    recovered,  ///< the device works again, with all settings
    failed,     ///< the driver could not repair the device
};

/// Thrown while a device is not present or is bound to another driver: a later attempt may find it.
class device_absent : public error
{
public:
    using error::error;
};

/// The sending part of a device. Called by the owner of the tx queue, one virtual call for each burst.
class tx_port
{
public:
    /// Takes the first k <= n packets and returns k; the caller keeps the rest. The packets may stay invisible to the
    /// peer until tx_doorbell().
    virtual std::uint16_t tx_burst(std::uint16_t queue, rte_mbuf **pkts, std::uint16_t n) noexcept = 0;
    /// Makes the packets that were taken visible to the peer, with one system call at most. False: the device needs
    /// another call, which a timer makes.
    virtual bool tx_doorbell(std::uint16_t) noexcept { return true; }

protected:
    ~tx_port() = default;
};

/// A device driver as netio sees it (the kernel's net_device_ops): DPDK ethdev or AF_XDP. Control calls come from the
/// one control thread, data calls for a queue from the one CPU that owns the queue. The destructor closes an open port.
class port : public tx_port
{
public:
    virtual ~port() = default;

    // --- control thread. Functions that are not noexcept, except rx_flow_steer(), throw `error` that names the device
    // when they fail ---
    virtual port_info info() const = 0;
    virtual void open(const port_options &options) = 0;
    virtual void close() noexcept = 0;
    virtual link_state link() = 0;
    virtual void set_mtu(std::uint32_t mtu) = 0;
    virtual void set_promiscuous(bool on) = 0;
    /// Receives packets for that address from now on. A device that cannot filter for it becomes promiscuous, so the
    /// caller must drop packets for other addresses. A driver that takes an address only when it is opened throws
    /// `error` (port_options::mac).
    virtual void set_mac(const rte_ether_addr &) { set_promiscuous(true); }
    /// Lets packets pass the runtime from now on (AF_XDP). Packets of routing protocols and of neighbour discovery
    /// still come to rx_burst(). False: the device or the kernel cannot; all packets come to rx_burst(). close() ends
    /// it.
    virtual bool set_pass(const pass_to_kernel &) noexcept { return false; }
    /// Adds an address of the box for pass_to_kernel::tcp_of_box, or removes it. There are none after open(). An
    /// address for which there is no room does not pass.
    virtual void pass_address(const box_address &, bool /*passes*/) noexcept {}
    /// Whether the port has loaded the BPF program with that id for set_pass().
    virtual bool owns_program(std::uint32_t) const noexcept { return false; }
    /// Puts a closed port into the state before its first open(), after an error of the device.
    virtual void reset() {}
    /// Period in ns at which link() must be polled while packets pass or the link is down (16 times as long while the
    /// link is silent). 0: events report each change.
    virtual ktime_t link_period() const noexcept { return 0; }
    virtual port_counters counters() const = 0;
    /// Sets the receiver of events, before or after open(). `notify` may be called from any thread, also before this
    /// call returns, and must only post. After set_event_handler(nullptr) has returned, no notification runs or comes.
    virtual void set_event_handler(std::function<void(port_event)> notify) = 0;
    virtual rx_wait wait_of(std::uint16_t queue) = 0;
    /// Whether the open device may take rules that bring flows to queues (ethtool's ntuple).
    virtual bool has_ntuple() const { return false; }
    /// Brings a flow to a queue from now on (the kernel's ndo_rx_flow_steer()). Returns the number of the rule, below
    /// RX_FLOW_FILTERS_MAX, or -errno: -ENOTSUP if the driver has no such rules (AF_XDP); ethdev -ENOSPC if all numbers
    /// are in use, -EINVAL if DPDK or its driver refuses the rule. Rules end with close() at the latest.
    virtual int rx_flow_steer(const flow_tuple &, std::uint16_t) { return -ENOTSUP; }
    /// Removes the rule with that number. False: the device keeps the rule, and its number stays in use.
    virtual bool rx_flow_expire(int) noexcept { return false; }

    // --- owner of the rx queue ---
    /// Returns up to n packets, which the caller owns then.
    virtual std::uint16_t rx_burst(std::uint16_t queue, rte_mbuf **pkts, std::uint16_t n) noexcept = 0;
    /// Whether at least one packet is waiting. It has no side effect that another thread could see.
    virtual bool rx_pending(std::uint16_t queue) const noexcept = 0;
    /// Whether the device may lack receive buffers because the pool had none. The next rx_burst() tries again; until
    /// then packets may be lost without an event.
    virtual bool rx_starved(std::uint16_t) const noexcept { return false; }
    /// Unmasks the interrupt of a queue: a packet that arrives from now on makes wait_of().fd ready. Returns 0, or
    /// -errno; the runtime then stops using the interrupt of this queue. AF_XDP returns 0. ethdev returns 0, or
    /// -ENOTSUP (the driver has no rx interrupt), -ENODEV (DPDK has released the port), -EINVAL (the queue is not set
    /// up), -EIO (the device was removed), or the -errno of DPDK's driver.
    virtual int rx_irq_enable(std::uint16_t queue) noexcept = 0;
    /// Masks the interrupt of a queue. Returns 0, or -errno as rx_irq_enable(); an error is counted and has no other
    /// effect, because an event that comes nevertheless is spurious.
    virtual int rx_irq_disable(std::uint16_t queue) noexcept = 0;
};

} // namespace halfpoll
