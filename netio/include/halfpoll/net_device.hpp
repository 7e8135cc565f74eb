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

/// Logical interface number, from 1; not the DPDK port id. 0: none.
using ifindex_t = std::uint16_t;
inline constexpr ifindex_t MAX_IFINDEX = 256;

/// Receives a burst (1 to 64 packets) on the CPU that polled it, in softirq context; owns the packets. Must not block
/// or throw.
using rx_handler = void (*)(void *ctx, net_cpu &cpu, net_device &in, rte_mbuf **pkts, unsigned n) noexcept;

/// One rx queue: its NAPI instance and where it lives.
struct rx_queue {
    napi_struct napi;
    net_device *dev = nullptr;
    port *driver = nullptr;
    net_cpu *cpu = nullptr;
    std::uint16_t queue = 0;
    bool enabled = false;     ///< control thread
    rps_queue *rps = nullptr; ///< null: packets are processed where they are received. Home CPU
    /// Null: no XDP program. Release by the control thread; pairs with the acquire in rx_divert().
    std::atomic<xdp_queue *> xdp{nullptr};
    std::shared_ptr<rps_queue> steering; ///< what `rps` points to, or has pointed to
    rps_config rps_settings;             ///< control thread
};

/// Who sends on a device for a given CPU: itself (own queue), or the owner of another queue, by hand-over. Written by
/// the control thread while the device does not run, or no packet is under way; foreign threads may read the stale
/// owner of a device that does not run, who drops. Relaxed.
struct tx_route {
    std::atomic<std::uint16_t> queue{0};
    std::atomic<std::uint16_t> owner{0}; ///< runtime CPU
};

/// Interface settings.
struct net_device_options {
    std::string name;
    unsigned rx_queues = 1;
    /// Runtime CPU of each rx queue, round robin; empty: all CPUs that are not dedicated. Of one that is offline
    /// another one has it.
    std::vector<unsigned> cpus;
    unsigned descriptors = 1024;
    std::uint32_t mtu = 1500;
    bool promiscuous = false;
    bool force_spin = false; ///< never leave the poll list (for comparison)
    napi_config napi;
    rps_config rps;                   ///< of each rx queue, at first
    std::shared_ptr<xdp_program> xdp; ///< of each rx queue, before the first packet; null: none
    bool ntuple = false; ///< flows that move to another CPU are brought to its queue by the device, if that can
    /// Finds the device again after it failed or went; throws device_absent while it is away, else `error`. Empty: it
    /// stays out of service. Control thread.
    std::function<std::unique_ptr<port>()> reprobe;
};

/// An interface. Created and destroyed by net_core on the control thread; the data path reads it.
struct net_device {
    ifindex_t ifindex = 0;
    std::string name;
    std::string device;                   ///< below it, as the driver calls it: "af_xdp:eth0", "0000:01:00.0"
    rte_ether_addr mac{};                 ///< written by the control thread while no queue is polled
    std::atomic<std::uint32_t> mtu{1500}; ///< written by the control thread; relaxed, a value of its own
    std::atomic<bool> running{false};     ///< up and with carrier: may be sent to. Same writer; relaxed
    std::atomic<bool> carrier{false};     ///< same writer; relaxed
    std::unique_ptr<port> driver;         ///< null while the device is away
    net_device_options options;
    std::vector<std::unique_ptr<rx_queue>> queues;
    std::vector<tx_route> tx; ///< by runtime CPU
    /// By tx queue: of those that several runtime CPUs on one logical CPU share. Control thread.
    std::vector<std::shared_ptr<shared_tx_queue>> shared_tx;
    unsigned tx_queues = 0;   ///< that the driver was opened with. Control thread
    std::string failure;      ///< why the port is out of service, else empty. Control thread
    std::shared_ptr<void> up; ///< held while in service; what drivers post about it looks whether it still is

    // Control thread.
    bool open = false;                  ///< its driver is, and the queues are attached
    bool recovering = false;            ///< its driver is not to be called; `failure` says so too
    std::string cause;                  ///< the first failure, while it is looked for
    std::shared_ptr<xdp_device> xdp;    ///< null: it has not had an XDP program yet
    std::shared_ptr<arfs_state> arfs;   ///< null: flows are not brought to queues
    ktime_t arfs_look_at = KTIME_MAX;   ///< next look at what flows have moved
    ktime_t link_look_at = KTIME_MAX;   ///< next look at the link, if no event tells
    std::uint64_t link_packets = 0;     ///< that had passed at the last look
    unsigned silent_periods = 0;        ///< left out since then, for nothing had
    ktime_t return_look_at = KTIME_MAX; ///< next look for a device that failed
    ktime_t return_wait = 0;            ///< between the last two
};

/// Counters of one interface on one CPU. Home CPU writes, anyone reads, relaxed.
struct alignas(64) dev_stats {
    std::atomic<std::uint64_t> rx_packets{0}, rx_bytes{0}, rx_dropped{0}, tx_packets{0}, tx_bytes{0}, tx_dropped{0};
};

} // namespace halfpoll
