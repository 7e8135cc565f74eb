// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/napi.hpp>
#include <halfpoll/port.hpp>
#include <halfpoll/rps.hpp>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace halfpoll
{

struct net_cpu;
struct net_device;
struct rps_queue;
struct arfs_state;
struct xdp_device;
struct xdp_queue;
class xdp_program;
class shared_tx_queue;

/// Number of a logical interface, from 1; not the DPDK port id. 0: none.
using ifindex_t = std::uint16_t;
inline constexpr ifindex_t MAX_IFINDEX = 256;

/// Receives a burst of 1 to 64 packets, in softirq context on the CPU that polled it or on the CPU whose backlog
/// delivers it, and owns the packets. Must not block or throw.
using rx_handler = void (*)(void *ctx, net_cpu &cpu, net_device &in, rte_mbuf **pkts, unsigned n) noexcept;

/// One rx queue with its NAPI instance. `cpu` is its home CPU.
struct rx_queue {
    napi_struct napi;
    net_device *dev = nullptr;
    port *driver = nullptr;
    net_cpu *cpu = nullptr;
    std::uint16_t queue = 0;
    bool enabled = false;     ///< NAPI is enabled. Control thread
    rps_queue *rps = nullptr; ///< null: packets are processed on the CPU that receives them. Home CPU
    /// Null: no XDP program. Stored with release by the control thread; pairs with the acquire in rx_divert().
    std::atomic<xdp_queue *> xdp{nullptr};
    std::shared_ptr<rps_queue> steering; ///< keeps the object that `rps` points to, or has pointed to. Written by the
                                         ///< control thread
    rps_config rps_settings;             ///< the last rps_configure(). Control thread
};

/// The CPU that sends on a device for a given CPU: that CPU itself, which owns `queue`, or the owner of another CPU's
/// queue, by hand-over. Written by the control thread while the device does not run or no packet is under way. A
/// foreign thread may read a stale owner of a device that does not run; that owner then drops the packets. Relaxed.
struct tx_route {
    std::atomic<std::uint16_t> queue{0};
    std::atomic<std::uint16_t> owner{0}; ///< runtime CPU
};

/// Settings of an interface.
struct net_device_options {
    std::string name;
    unsigned rx_queues = 1;
    /// Runtime CPU of each rx queue, round robin; empty: all CPUs that are not dedicated. While such a CPU is offline,
    /// a stand-in has the queue.
    std::vector<unsigned> cpus;
    unsigned descriptors = 1024; ///< per ring; the driver may choose another number
    std::uint32_t mtu = 1500;    ///< bytes of layer 3
    bool promiscuous = false;
    bool force_spin = false; ///< never leave the poll list (for comparison)
    napi_config napi;
    rps_config rps;                   ///< initial settings of each rx queue
    std::shared_ptr<xdp_program> xdp; ///< initial program of each rx queue; null: none
    bool ntuple = false; ///< let the device bring a flow that moves to another CPU to that CPU's queue, if it can
    /// Finds the device again after it failed or vanished; throws device_absent while it is away, and `error` if it
    /// cannot be used. Empty: the interface stays out of service. Called on the control thread.
    std::function<std::unique_ptr<port>()> reprobe;
};

/// An interface. Created and destroyed by net_core on the control thread; data CPUs read it.
struct net_device {
    ifindex_t ifindex = 0;
    std::string name;
    std::string device;                   ///< as the driver calls it: "af_xdp:eth0", "0000:01:00.0"
    rte_ether_addr mac{};                 ///< written by the control thread while no queue is polled
    std::atomic<std::uint32_t> mtu{1500}; ///< bytes of layer 3; written by the control thread, relaxed
    std::atomic<bool> running{false};     ///< up and with carrier: may be sent to. Same writer; relaxed
    std::atomic<bool> carrier{false};     ///< same writer; relaxed
    std::unique_ptr<port> driver;         ///< null while the device is away
    net_device_options options;
    std::vector<std::unique_ptr<rx_queue>> queues;
    std::vector<tx_route> tx; ///< by runtime CPU
    /// By tx queue: the locked queues that several runtime CPUs on one logical CPU share. Control thread.
    std::vector<std::shared_ptr<shared_tx_queue>> shared_tx;
    unsigned tx_queues = 0;  ///< number of tx queues that the driver was opened with. Control thread
    bool unfiltered = false; ///< promiscuous whatever the options say (net_core::set_unfiltered()). Control thread
    pass_to_kernel pass;     ///< net_core::set_pass(). Control thread
    bool passing = false;    ///< the device does so. Control thread
    std::string failure;     ///< why the port is out of service, else empty. Control thread
    /// Exists while the device is in service: work that a driver posts holds a weak reference to it, and does nothing
    /// once it is gone.
    std::shared_ptr<void> up;

    // Control thread.
    bool open = false;                  ///< the driver is open and the queues are attached
    bool recovering = false;            ///< the driver repairs the device and must not be called; `failure` says so too
    std::string cause;                  ///< the first failure, kept while net_core looks for the device
    std::shared_ptr<xdp_device> xdp;    ///< null: the interface has had no XDP program so far
    std::shared_ptr<arfs_state> arfs;   ///< null: the device does not bring flows to queues
    ktime_t arfs_look_at = KTIME_MAX;   ///< when the control thread next processes flows that have moved
    ktime_t link_look_at = KTIME_MAX;   ///< when the link is next polled; KTIME_MAX: never, events report each change
    std::uint64_t link_packets = 0;     ///< packets that had passed when the link was last polled
    unsigned silent_periods = 0;        ///< periods skipped since then, because no packet had passed
    ktime_t return_look_at = KTIME_MAX; ///< when net_core next looks for a device that failed
    ktime_t return_wait = 0;            ///< ns between the last two attempts
};

/// Counters of one interface on one CPU. That CPU writes, any thread reads, relaxed.
struct alignas(64) dev_stats {
    std::atomic<std::uint64_t> rx_packets{0}, rx_bytes{0}, rx_dropped{0}, tx_packets{0}, tx_bytes{0}, tx_dropped{0};
};

} // namespace halfpoll
