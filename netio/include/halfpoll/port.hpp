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

/// What a device says of itself before it is opened.
struct port_info {
    std::string driver; ///< "net_virtio_user", "af_xdp", …
    std::string device; ///< for messages: "af_xdp:eth0", "0000:01:00.0"; empty: the interface's name will do
    rte_ether_addr mac{};
    unsigned max_rx_queues = 1;
    unsigned max_tx_queues = 1;
    std::uint32_t min_mtu = 68;
    std::uint32_t max_mtu = 1500;
    unsigned rx_descriptors = 0; ///< per queue, 0: unknown
};

struct link_state {
    bool up = false;
    std::uint32_t speed_mbps = 0; ///< 0: unknown
};

/// Counters of the device itself. All since it was opened, rx_nohandler since it was found.
struct port_counters {
    std::uint64_t rx_packets = 0, rx_bytes = 0, rx_missed = 0, rx_errors = 0;
    std::uint64_t rx_nombuf = 0;    ///< buffers that were not to be had for it. DPDK's drivers count each attempt
    std::uint64_t rx_nohandler = 0; ///< dropped: came on a queue that the port does not serve
    std::uint64_t tx_packets = 0, tx_bytes = 0, tx_errors = 0;
};

struct port_options {
    unsigned rx_queues = 1;
    unsigned tx_queues = 1;
    unsigned descriptors = 1024;       ///< per ring, wish
    std::uint32_t mtu = 1500;          ///< bytes of layer 3
    rte_mempool *pool = nullptr;       ///< receive buffers; lives longer than the port
    std::optional<rte_ether_addr> mac; ///< wish, instead of its own
};

/// How an rx queue can wait. fd < 0: no interrupt, and `reason` (static string) says why.
struct rx_wait {
    int fd = -1;
    source_kind kind = source_kind::multishot;
    const char *reason = "";
};

/// A TCP or UDP flow, as a device can tell it from others. In network order; an IPv4 address is the first four bytes.
struct flow_tuple {
    bool ip6 = false;
    std::uint8_t protocol = 0;
    std::array<std::uint8_t, 16> src{}, dst{};
    std::uint16_t sport = 0, dport = 0;
    auto operator<=>(const flow_tuple &) const = default;
};
inline constexpr int RX_FLOW_FILTERS_MAX = 65535;

enum class port_event {
    link,       ///< may have changed
    queues,     ///< the device has another number of queues: the port is to be closed and opened again
    removed,    ///< the device is going or gone: the port is to be closed and destroyed
    reset,      ///< the device asks for close(), reset() and open()
    recovering, ///< the driver repairs the device: no call until one of the next two
    recovered,  ///< with all settings
    failed,     ///< it could not
};

/// What looking for a device throws if it is not there, or in other hands: another look later may find it.
class device_absent : public error
{
public:
    using error::error;
};

/// What sends through a device: one virtual call per burst, by the owner of the tx queue.
class tx_port
{
public:
    /// Takes the first k <= n packets and returns k; the rest stays the caller's. They may stay invisible to the peer
    /// until tx_doorbell().
    virtual std::uint16_t tx_burst(std::uint16_t queue, rte_mbuf **pkts, std::uint16_t n) noexcept = 0;
    /// Makes what was taken visible; at most one system call. False: the device asks to be called again (retry by
    /// timer).
    virtual bool tx_doorbell(std::uint16_t) noexcept { return true; }

protected:
    ~tx_port() = default;
};

/// A device driver as netio sees it (the kernel's net_device_ops): DPDK ethdev, AF_XDP. One virtual call per burst.
/// Control calls come from the one control thread; data calls for a queue from the one CPU that owns the queue.
class port : public tx_port
{
public:
    virtual ~port() = default;

    // --- control thread; failures throw `error` that names the device ---
    virtual port_info info() const = 0;
    virtual void open(const port_options &options) = 0;
    virtual void close() noexcept = 0;
    virtual link_state link() = 0;
    virtual void set_mtu(std::uint32_t mtu) = 0;
    virtual void set_promiscuous(bool on) = 0;
    /// Receives packets to that address from now on. The caller drops what is for others: a device without a filter for
    /// it is made promiscuous. A device that takes it only when it is opened refuses (port_options::mac).
    virtual void set_mac(const rte_ether_addr &) { set_promiscuous(true); }
    /// Puts a closed port in the state before its first open(), after an error of the device.
    virtual void reset() {}
    /// ns between looks at link() while packets pass or it is down (at a silent one 16 times as long); 0: events tell
    /// of each change.
    virtual ktime_t link_period() const noexcept { return 0; }
    virtual port_counters counters() const = 0;
    /// `notify` may be called from any thread, also before set_event_handler() returns; it only posts.
    virtual void set_event_handler(std::function<void(port_event)> notify) = 0;
    virtual rx_wait wait_of(std::uint16_t queue) = 0;
    /// The open device may take rules that bring flows to queues (ethtool's ntuple).
    virtual bool has_ntuple() const { return false; }
    /// Brings a flow to a queue from now on. Number of the rule (below RX_FLOW_FILTERS_MAX), or -errno. Rules end with
    /// close() at the latest. The kernel's ndo_rx_flow_steer().
    virtual int rx_flow_steer(const flow_tuple &, std::uint16_t) { return -ENOTSUP; }
    virtual void rx_flow_expire(int) noexcept {}

    // --- owner of the rx queue ---
    /// Up to n packets; the caller owns them.
    virtual std::uint16_t rx_burst(std::uint16_t queue, rte_mbuf **pkts, std::uint16_t n) noexcept = 0;
    /// At least one packet is waiting. No side effect that another thread could see.
    virtual bool rx_pending(std::uint16_t queue) const noexcept = 0;
    /// The device may lack buffers to receive into, because the pool had none; the next rx_burst() tries again. Until
    /// then packets may be lost without an event.
    virtual bool rx_starved(std::uint16_t) const noexcept { return false; }
    virtual int rx_irq_enable(std::uint16_t queue) noexcept = 0;  ///< 0 or -errno
    virtual int rx_irq_disable(std::uint16_t queue) noexcept = 0; ///< 0 or -errno
};

} // namespace halfpoll
