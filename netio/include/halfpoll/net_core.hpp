// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/device_table.hpp>
#include <halfpoll/net_cpu.hpp>
#include <halfpoll/runtime.hpp>

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace halfpoll
{

struct redirect_state;
struct rps_state;

/// Packets that may wait in the backlog of one CPU: the kernel's default. BACKLOG_ROOM is the number of packets that
/// the backlog rings hold at least.
inline constexpr unsigned NETDEV_MAX_BACKLOG = 1000;
inline constexpr unsigned BACKLOG_ROOM = 2047;
/// The largest netdev_max_backlog that a net_core may start with.
inline constexpr unsigned BACKLOG_MAX = 65535;

/// The largest skb_defer_max: packets that wait on one CPU to go back to the CPU that received them. The initial value
/// is 0 (none) and not the kernel's 128, because the pool already has a cache for each CPU and exchanges packets with
/// it in bulk.
inline constexpr unsigned SKB_DEFER_ROOM = 1023;

/// Packets that a tx queue stages before it offers them to the device; also the size of a receive burst.
inline constexpr unsigned NET_BURST = 32;

/// Sends a burst out of a device and takes ownership of the packets. They are staged, and become visible to the peer at
/// the end of the poll (net_poll_end()). If `cpu` owns no tx queue of the device, the packets cross to the owner of
/// one. What cannot be sent is freed and counted: DROP_DEV_READY, DROP_TX_FULL, DROP_TX_OVERSIZE, DROP_RECURSION_LIMIT
/// or DROP_HANDOVER_FULL. Home CPU of `cpu`.
void dev_queue_xmit(net_cpu &cpu, net_device &dev, rte_mbuf **pkts, unsigned n) noexcept;
/// As dev_queue_xmit() above, without the check of the lengths: the caller states that the packets have `bytes` in all
/// and that none is longer than the device's MTU plus the link header and two VLAN tags.
void dev_queue_xmit(net_cpu &cpu, net_device &dev, rte_mbuf **pkts, unsigned n, std::uint64_t bytes) noexcept;
/// Ends a poll: sends what XDP programs redirected, publishes packets for other CPUs, offers staged packets to the
/// devices with one doorbell for each device, and schedules each hand-over target once. Home CPU of `cpu`.
void net_poll_end(net_cpu &cpu) noexcept;
/// Frees packets whose processing has ended (the kernel's napi_consume_skb()). Packets that another CPU received, and
/// that came by the backlog, go back to that CPU while fewer than skb_defer_max wait for it. Home CPU of `cpu`.
void consume_packets(net_cpu &cpu, rte_mbuf **pkts, unsigned n) noexcept;
/// Counts packets under `reason` (a drop_reason or an application's own number below DROP_REASONS) and frees them as
/// consume_packets() does. Home CPU of `cpu`.
void drop_packets(net_cpu &cpu, unsigned reason, rte_mbuf **pkts, unsigned n) noexcept;

/// Interfaces on a runtime. Control thread, the destructor included, unless a member says otherwise.
class net_core
{
public:
    /// `pool` supplies the receive buffers of all devices and outlives the net_core, as does `rt`. `foreign_threads`:
    /// number of threads outside the runtime that may call foreign_xmit() (the first ones are those of the slow path).
    /// `netdev_max_backlog`: initial limit in packets; the rings are made for it, and set_netdev_max_backlog() cannot
    /// exceed their size.
    /// Throws `error` if a value is out of range or if memory for rings, mbuf fields or file descriptors is missing.
    net_core(runtime &rt, rte_mempool *pool, unsigned foreign_threads = 1,
             unsigned netdev_max_backlog = NETDEV_MAX_BACKLOG);
    ~net_core();
    net_core(const net_core &) = delete;
    net_core &operator=(const net_core &) = delete;

    runtime &rt() noexcept { return rt_; }
    rte_mempool *pool() const noexcept { return pool_; }
    rps_state &rps() const noexcept { return *rps_; }
    redirect_state &redirect() const noexcept { return *redirect_; }
    net_cpu &cpu(unsigned n) const noexcept { return *cpus_[n]; }
    unsigned cpus() const noexcept { return static_cast<unsigned>(cpus_.size()); }
    unsigned foreign_threads() const noexcept { return static_cast<unsigned>(foreign_mutexes_.size()); }
    /// Whether packets may be directed to CPU n. The value does not change while a packet is on its way from a device's
    /// rx queue to the driver that sends it. Any thread.
    bool cpu_active(unsigned n) const noexcept { return cpus_[n]->active.load(std::memory_order_relaxed); }
    /// Set by a component that keeps packets after delivery; returns true while it still holds packets that a data CPU
    /// gave it. Called on the control thread when a CPU comes or goes.
    std::function<bool()> elsewhere_in_flight;

    /// Packets that may wait in the backlog of one CPU, from all CPUs including itself. Any thread.
    unsigned netdev_max_backlog() const noexcept { return netdev_max_backlog_.load(std::memory_order_relaxed); }
    /// Sets netdev_max_backlog from the next burst on, 1 to backlog_room(). Throws `error` if it is out of range, and
    /// then changes nothing.
    void set_netdev_max_backlog(unsigned packets);
    /// The largest value that set_netdev_max_backlog() takes: the size of the rings in packets.
    unsigned backlog_room() const noexcept { return backlog_room_; }
    /// The part of netdev_max_backlog that each producer may use without checking the other producers' rings. Any
    /// thread.
    unsigned backlog_share() const noexcept { return backlog_share_.load(std::memory_order_relaxed); }

    /// Segments that may wait on one CPU to go back to the CPU that received them; 0: all are freed on the spot. Any
    /// thread.
    unsigned skb_defer_max() const noexcept { return skb_defer_max_.load(std::memory_order_relaxed); }
    /// Sets skb_defer_max, 0 to SKB_DEFER_ROOM. 0 also takes back all segments that wait. Throws `error` if it is out
    /// of range, and then changes nothing.
    void set_skb_defer_max(unsigned packets);

    /// Sets the function that gets received packets, and its argument. Call it before the first register_netdevice().
    /// Without a handler packets are dropped (DROP_NO_HANDLER).
    void set_rx_handler(rx_handler receive, void *ctx) noexcept;
    rx_handler handler() const noexcept { return handler_; }
    void *handler_ctx() const noexcept { return handler_ctx_; }

    /// Opens a device and starts to poll it. The interface gets a number from 1 to MAX_IFINDEX - 1: the one that its
    /// name had before, if that is free. The reference is valid until unregister_netdevice(). Throws `error` if the
    /// name is empty or in use, if no number is free, or if the driver does not open with `options`; then nothing is
    /// left behind.
    net_device &register_netdevice(std::unique_ptr<port> driver, net_device_options options);
    /// Removes an interface: takes it out of maps and of service, disables its NAPI instances, sends what is staged,
    /// waits a grace period, closes the driver and destroys the net_device.
    void unregister_netdevice(net_device &dev) noexcept;
    /// Takes a device that failed or vanished out of service: closes and destroys its driver. Unlike after
    /// unregister_netdevice(), the interface stays registered, with `why` in net_device::failure, and packets sent to
    /// it are dropped and counted. If its options have `reprobe`, net_core looks for the device from then on, and the
    /// interface returns with it under the same name, number and address. Does nothing if the device is not open.
    void fail_netdevice(net_device &dev, const std::string &why) noexcept;
    /// Gives an interface other options. It keeps its name and number, so map entries and programs that refer to it
    /// stay valid. A `driver` is another device, which is opened before the present one is closed; the interface then
    /// gets `mac`, or the new device's address if `mac` is zero. With a null `driver` the device stays, and is closed
    /// and opened again. If the device is away, the options apply at its return. Throws `error`; then either everything
    /// is as before, or the interface is out of service with the reason in net_device::failure.
    void replace_netdevice(net_device &dev, net_device_options options, std::unique_ptr<port> driver = nullptr,
                           const rte_ether_addr &mac = {});
    /// Throws `error` if the driver cannot be opened with these options, as far as that can be known before it is
    /// opened.
    void check_options(const port &driver, const net_device_options &options) const;
    /// Null if no interface has that number.
    net_device *dev_get(ifindex_t ifindex) const noexcept { return table_.get(ifindex); }
    net_device *dev_get_by_name(const std::string &name) const noexcept { return table_.by_name(name); }
    std::vector<net_device *> devices() const { return table_.all(); }
    /// Sets the MTU (bytes of layer 3) or the address of an interface. If the driver takes the setting only when it is
    /// opened, the port is closed and opened again. If the device is away, the setting applies at its return. Throws
    /// `error` if the driver refuses the value or is repairing the device; then the former value stays, or the
    /// interface is out of service with the reason in net_device::failure.
    void set_mtu(net_device &dev, std::uint32_t mtu);
    void set_mac(net_device &dev, const rte_ether_addr &mac);
    /// Sets promiscuous mode. If the device is away, the setting applies at its return. Throws `error` if the driver
    /// refuses it or is repairing the device.
    void set_promiscuous(net_device &dev, bool on);
    /// The same for an interface on top of the device, which needs frames to other link addresses: the device is
    /// promiscuous if this or its options say so.
    void set_unfiltered(net_device &dev, bool on);
    /// Lets packets pass the runtime inside the kernel (port::set_pass()), as long as no XDP program is to see them. If
    /// the device is away, the setting applies at its return.
    void set_pass(net_device &dev, const pass_to_kernel &wanted) noexcept;
    /// port::pass_address() for all devices, also for those that come later.
    void set_pass_address(const box_address &address, bool passes);
    /// Packets dropped under `reason` (below DROP_REASONS), summed over CPUs. Any thread.
    std::uint64_t drops(unsigned reason) const noexcept;

    /// Sends a burst from a thread outside the runtime and takes ownership of the packets. The number `producer`, below
    /// foreign_threads, belongs to one thread alone. Rings at most one doorbell. Returns the number of packets
    /// accepted; the others were freed and counted in foreign_drops(). Blocks while a CPU comes or goes.
    unsigned foreign_xmit(unsigned producer, net_device &dev, rte_mbuf **pkts, unsigned n) noexcept;
    std::uint64_t foreign_drops() const noexcept { return foreign_drops_.load(std::memory_order_relaxed); }

    /// An fd that is readable when run_control() has work.
    int control_fd() const noexcept;
    /// Runs posted work (link changes, removals, resets), polls the link of devices that send no link events, looks for
    /// devices that are away, and moves flows to other queues (accelerated RFS). Takes long when a device is opened,
    /// closed or reset. Throws `error` if the control fds fail, and what posted work throws; the remaining work then
    /// waits for the next call, and control_fd() stays readable.
    void run_control();
    /// Queues work for run_control(). Any thread except data CPUs: it takes a lock and allocates. Throws `error` if the
    /// control thread cannot be woken.
    void post(std::function<void()> work);
    /// Called on the control thread after a device's carrier, MTU or failure has changed.
    std::function<void(net_device &)> on_change;
    /// Called on the control thread after net_core has closed and opened a device on its own initiative, with the
    /// reason.
    std::function<void(net_device &, const std::string &)> on_reopen;

private:
    struct impl;

    runtime &rt_;
    rte_mempool *pool_;
    std::vector<std::unique_ptr<net_cpu>> cpus_;
    device_table table_;
    std::shared_ptr<rps_state> rps_;
    std::shared_ptr<redirect_state> redirect_;
    /// By foreign thread: held while the thread sends, and by the control thread while owners of tx queues change.
    std::vector<std::unique_ptr<std::mutex>> foreign_mutexes_;
    rx_handler handler_ = nullptr;
    void *handler_ctx_ = nullptr;
    unsigned backlog_room_;
    /// Written by the control thread, read by data CPUs; relaxed, each value stands for itself.
    std::atomic<unsigned> netdev_max_backlog_{0}, backlog_share_{0}, skb_defer_max_{0};
    std::atomic<std::uint64_t> foreign_drops_{0}; ///< relaxed counter
    std::unique_ptr<impl> impl_;
};

} // namespace halfpoll
