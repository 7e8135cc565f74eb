// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/drop_reason.hpp>
#include <halfpoll/napi_alloc_cache.hpp>
#include <halfpoll/net_device.hpp>
#include <halfpoll/runtime.hpp>

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

struct rte_ring;

namespace halfpoll
{

class backlog_ring;
class defer_ring;
class net_core;
struct redirect_cpu;
struct redirect_state;
struct rps_cpu;
struct rps_state;

/// Packets that may wait in the backlog of a CPU: the kernel's default, and what each hand-over ring has room for at
/// least.
inline constexpr unsigned NETDEV_MAX_BACKLOG = 1000;
inline constexpr unsigned BACKLOG_ROOM = 2047;
/// The largest limit that a net_core may start with.
inline constexpr unsigned BACKLOG_MAX = 65535;

/// The most that skb_defer_max may be: packets that wait on a CPU to go back to the one that received them. At start it
/// is 0, none, and not the kernel's 128: the pool has caches per CPU already, and exchanges packets with them in bulk.
inline constexpr unsigned SKB_DEFER_ROOM = 1023;

/// Most packets a tx queue stages before it hands them to the device; also the receive burst.
inline constexpr unsigned NET_BURST = 32;

/// What waits for one device on its owner CPU: staged during a poll, and kept when the ring was full.
struct xmit_queue {
    net_device *dev = nullptr;
    tx_port *driver = nullptr; ///< the device's, or one that shares it with others of the logical CPU
    std::uint16_t queue = 0;
    unsigned staged = 0;
    bool dirty = false;    ///< on the CPU's flush list
    bool rung = true;      ///< doorbell not owed
    bool full = false;     ///< took less than offered: not tried again before the next flush
    bool xmitting = false; ///< inside the driver: sending on it again is recursion
    unsigned depth = 0;    ///< nested sends that have led to what waits; of packets that differ the most
    unsigned retries = 0;  ///< timer runs that moved nothing
    std::array<rte_mbuf *, 256> pkts;
};

/// Members of net_cpu that find their way back to it.
struct xmit_timer : hrtimer {
    net_cpu *cpu = nullptr;
};
struct cpu_napi : napi_struct {
    net_cpu *cpu = nullptr;
};
struct backlog_ring_deleter {
    void operator()(backlog_ring *ring) const noexcept;
};
using backlog_ring_ptr = std::unique_ptr<backlog_ring, backlog_ring_deleter>;
struct defer_ring_deleter {
    void operator()(defer_ring *ring) const noexcept;
};
using defer_ring_ptr = std::unique_ptr<defer_ring, defer_ring_deleter>;

/// The tx queue of a device that a CPU's packets go to, and whose it is. Runtime CPUs on one logical CPU (mode
/// `nested`) share a queue, and each is its owner.
struct tx_choice {
    std::uint16_t queue;
    std::uint16_t owner;
};

/// netio's part of a runtime CPU. Home CPU only.
struct net_cpu {
    softnet_data *sd = nullptr;
    net_core *core = nullptr;
    unsigned id = 0; ///< runtime CPU number
    /// Packets are directed to it: false while it is offline. Written by the control thread while none is under way.
    std::atomic<bool> active{true};
    std::unique_ptr<napi_alloc_cache> cache;
    std::array<std::unique_ptr<xmit_queue>, MAX_IFINDEX> xmit; ///< by ifindex; null: not this CPU's to send
    /// Dirty queues of this poll. While they are flushed virtual devices may put them there once more.
    std::array<xmit_queue *, 2 * MAX_IFINDEX> flush_list{};
    unsigned flush_count = 0;
    unsigned xmit_recursion = 0;               ///< sends that led here: of virtual devices, by one another
    bool xdp_pending = false;                  ///< redirected in this poll: xdp_do_flush() has something to do
    xmit_timer xmit_retry;                     ///< full rings are tried again
    cpu_napi handover;                         ///< polls the rings that others fill for this CPU
    std::vector<rte_ring *> handover_in;       ///< by producer: runtime CPUs, then foreign threads
    unsigned handover_next = 0;                ///< producer whose ring is served first in the next poll
    std::vector<bool> handover_dirty;          ///< by target CPU: filled in this poll, not yet scheduled
    unsigned handover_targets = 0;             ///< how many of these are set
    std::vector<backlog_ring *> backlog_out;   ///< by target CPU: packets from this one (backlog.hpp)
    backlog_ring *backlog_staged = nullptr;    ///< those of them with something staged in this poll
    backlog_ring *backlog_unchecked = nullptr; ///< published in this turn: does the target look?
    std::vector<backlog_ring_ptr> backlog_in;  ///< by producing CPU
    unsigned backlog_next = 0;                 ///< producer whose ring is served first in the next poll
    cpu_napi backlog;                          ///< polls these
    unsigned receiver = 0;                     ///< CPU that received what is being delivered; else the own one
    std::vector<defer_ring *> defer_out;       ///< by receiving CPU: its packets that were freed here
    std::vector<defer_ring_ptr> defer_in;      ///< by freeing CPU
    /// Steering of packets to other CPUs.
    std::shared_ptr<rps_cpu> rps;
    /// What XDP programs redirect: bulk queues, flush lists, errors.
    std::shared_ptr<redirect_cpu> redirect;
    /// Nobody looks at the rings: who publishes schedules `backlog`. announce() in process_backlog(); pairs with
    /// announced() in send_rps_ipi().
    alignas(128) std::atomic<std::uint32_t> backlog_idle{0};
    /// A producer has more in its ring than its share of netdev_max_backlog: the others look at the sum. Relaxed hint,
    /// set by producers and cleared here.
    std::atomic<bool> backlog_crowded{false};
    /// Something was put on one of `defer_in`. Release by who did; pairs with the exchange of this CPU.
    std::atomic<bool> defer_waits{false};
    alignas(128) std::array<dev_stats, MAX_IFINDEX> dev{};
    std::array<std::atomic<std::uint64_t>, DROP_REASONS> drops{}; ///< home CPU writes, anyone reads, relaxed
    /// Packets (segments) of other CPUs that were freed here: sent back, and freed here because too many waited or they
    /// are of another pool. The same.
    std::atomic<std::uint64_t> deferred{0}, defer_over{0};
};

/// Sends a burst (consumed) out of a device: staged, and made visible at the end of the poll. From a CPU that does not
/// own a queue of the device the packets cross to the owner. Home CPU of `cpu`.
void dev_queue_xmit(net_cpu &cpu, net_device &dev, rte_mbuf **pkts, unsigned n) noexcept;
/// The same without another look at the packets: the caller knows that they have `bytes` in all and that none is longer
/// than the device's MTU and link header.
void dev_queue_xmit(net_cpu &cpu, net_device &dev, rte_mbuf **pkts, unsigned n, std::uint64_t bytes) noexcept;
/// Ends a poll: hands staged packets to the devices, one doorbell each, one schedule per hand-over target. Home CPU.
void xmit_flush(net_cpu &cpu) noexcept;
/// Frees packets that are done with (the kernel's napi_consume_skb()). Those that came by the backlog from another CPU
/// go back to that one while fewer than skb_defer_max wait for it. Home CPU.
void consume_packets(net_cpu &cpu, rte_mbuf **pkts, unsigned n) noexcept;
/// Frees packets under a counted reason; as consume_packets(). Home CPU.
void drop_packets(net_cpu &cpu, unsigned reason, rte_mbuf **pkts, unsigned n) noexcept;

/// Interfaces on a runtime. Construct, use and destroy on the control thread, unless a call says otherwise.
class net_core
{
public:
    /// `pool` supplies receive buffers of all devices. `foreign_threads`: threads other than the runtime's that may
    /// send (the slow path). `netdev_max_backlog`: at start; rings are made for it. Throws `error`.
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
    /// Packets may be directed to that CPU. Does not change while a packet is under way from a device's rx queue to the
    /// driver that sends it. Any thread.
    bool cpu_active(unsigned n) const noexcept { return cpus_[n]->active.load(std::memory_order_relaxed); }
    /// For who takes packets further than the devices: whether he still has some that CPUs gave him. Control thread.
    std::function<bool()> elsewhere_in_flight;

    /// Packets that may wait in the backlog of one CPU, from all others and itself. Any thread.
    unsigned netdev_max_backlog() const noexcept { return netdev_max_backlog_.load(std::memory_order_relaxed); }
    /// Changes it, from the next burst on. Control thread; throws `error` out of range, and changes nothing then.
    void set_netdev_max_backlog(unsigned packets);
    /// The most that set_netdev_max_backlog() takes: what the rings hold.
    unsigned backlog_room() const noexcept { return backlog_room_; }
    /// Of that limit the part that every producer may use without a look at the others. Any thread.
    unsigned backlog_share() const noexcept { return backlog_share_.load(std::memory_order_relaxed); }

    /// Packets that may wait on one CPU to go back to another; 0: all are freed where they are. Any thread.
    unsigned skb_defer_max() const noexcept { return skb_defer_max_.load(std::memory_order_relaxed); }
    /// Changes it. Control thread; throws `error` out of range, and changes nothing then.
    void set_skb_defer_max(unsigned packets);

    /// Where received packets go. Before the first device.
    void set_rx_handler(rx_handler receive, void *ctx) noexcept;
    rx_handler handler() const noexcept { return handler_; }
    void *handler_ctx() const noexcept { return handler_ctx_; }

    /// Opens a device and starts polling it. A name that an interface had before gets the same number again, if that is
    /// free. Throws `error`; nothing is left behind then.
    net_device &register_netdevice(std::unique_ptr<port> driver, net_device_options options);
    /// Out of service, NAPIs disabled, tx flushed, grace period, closed, gone.
    void unregister_netdevice(net_device &dev) noexcept;
    /// The device misbehaved or vanished: as unregister, but the interface stays listed, with the reason, and can be
    /// sent to (counted drop). If its options have `reprobe`, the device is looked for from then on, and the interface
    /// returns with it, under the same name, number and address.
    void fail_netdevice(net_device &dev, const std::string &why) noexcept;
    /// Other options for an interface, which keeps its number, so that those who refer to it (entries of maps,
    /// programs) are not concerned; its name stays. `driver`: another device, opened before the present one is closed;
    /// the interface gets `mac`, or if that is zero the device's address. Null: the device stays, and is opened again.
    /// Of a device that is away the options are for its return. Throws `error`, and everything is as it was then, or
    /// the interface is out of service, with the reason in `failure`.
    void replace_netdevice(net_device &dev, net_device_options options, std::unique_ptr<port> driver = nullptr,
                           const rte_ether_addr &mac = {});
    /// Throws `error` if the driver cannot be opened with these options, as far as that can be known.
    void check_options(const port &driver, const net_device_options &options) const;
    /// Null if there is none.
    net_device *dev_get(ifindex_t ifindex) noexcept { return ifindex < MAX_IFINDEX ? devs_[ifindex].get() : nullptr; }
    net_device *dev_get_by_name(const std::string &name) noexcept;
    std::vector<net_device *> devices();
    /// Both close and open the port again if its driver takes the setting only then; throw `error` if it does not. Of a
    /// device that is away they are for its return.
    void set_mtu(net_device &dev, std::uint32_t mtu);
    void set_mac(net_device &dev, const rte_ether_addr &mac);
    /// Of a device that is away it is for its return. Throws `error`.
    void set_promiscuous(net_device &dev, bool on);
    /// Sum over CPUs.
    std::uint64_t drops(unsigned reason) const noexcept;

    /// A foreign thread sends a burst (consumed) out of a device; `producer` < foreign_threads belongs to that thread
    /// alone. One doorbell at most. Returns how many were accepted; the rest were freed and counted in foreign_drops().
    /// Waits while a CPU comes or goes.
    unsigned foreign_xmit(unsigned producer, net_device &dev, rte_mbuf **pkts, unsigned n) noexcept;
    std::uint64_t foreign_drops() const noexcept { return foreign_drops_.load(std::memory_order_relaxed); }

    /// The control loop: readable when run_control() has something to do.
    int control_fd() const noexcept { return control_fd_; }
    /// Runs posted work (link changes, removals, resets), looks at links that send no events and for devices that are
    /// away. Control thread.
    void run_control();
    /// Queues work for the control thread. Any thread but data cores.
    void post(std::function<void()> work);
    /// Called on the control thread after a device's carrier, mtu or failure changed.
    std::function<void(net_device &)> on_change;
    /// Called on the control thread after a device was closed and opened again by itself, with the reason.
    std::function<void(net_device &, const std::string &)> on_reopen;

private:
    ifindex_t new_ifindex(const std::string &name);
    void make_rings(unsigned foreign_threads);
    void add_napis();
    void remove_napis() noexcept;
    void open_control();
    void close_control() noexcept;
    void arm_timer() noexcept;
    void announce(net_device &dev) noexcept;

    // In and out of service (dev_open.cpp).
    unsigned open_driver(port &driver, const net_device_options &options, rte_ether_addr &mac) const;
    void attach_driver(net_device &dev, unsigned tx_queues);
    void watch_driver(net_device &dev);
    void dev_open(net_device &dev);
    void dev_start(net_device &dev);
    void start_traffic(net_device &dev);
    void stop_traffic(net_device &dev) noexcept;
    void dev_close(net_device &dev) noexcept;
    void shut(net_device &dev) noexcept;
    void reopen(net_device &dev);
    void reopen_with(net_device &dev, const std::function<void()> &change, const std::function<void()> &undo);
    static void refuse_while_recovering(const net_device &dev);

    // Another device (dev_replace.cpp).
    void exchange_driver(net_device &dev, net_device_options options, std::unique_ptr<port> driver, rte_ether_addr mac);

    // What drivers report (dev_return.cpp).
    void handle_event(net_device &dev, port_event event);
    void abandon(net_device &dev, const std::string &why) noexcept;
    void forget_driver(net_device &dev) noexcept;
    void reopen_for_queues(net_device &dev);
    void reset_device(net_device &dev);
    void suspend(net_device &dev);
    void resume(net_device &dev);
    void look_for_failed(ktime_t now);
    void try_return(net_device &dev);

    // Accelerated RFS (arfs.cpp).
    void look_at_flows(ktime_t now);

    // CPUs that come and go (net_hotplug.cpp).
    class traffic_hold;
    void cpu_moves(unsigned cpu, bool active);
    void place(net_device &dev);
    unsigned cores() const noexcept;
    bool is_general(unsigned cpu) const noexcept { return !rt_.options().cpus[cpu].dedicated; }
    unsigned stand_in(unsigned cpu, const std::vector<unsigned> &load) const noexcept;
    unsigned collector(unsigned cpu) const noexcept;
    std::vector<unsigned> rx_homes(const net_device &dev) const;
    std::vector<tx_choice> choose_tx(const std::vector<unsigned> &rx_cpus, unsigned tx_queues) const;
    tx_port *driver_for(net_device &dev, const net_cpu &cpu, unsigned queue);
    void give_tx_queue(net_device &dev, net_cpu &cpu);
    bool in_flight();

    // The carrier (link_watch.cpp).
    void refresh_link(net_device &dev, bool told);
    void plan_link_look(net_device &dev);
    void look_at_links(ktime_t now);
    std::uint64_t link_packets(const net_device &dev) const noexcept;

    runtime &rt_;
    rte_mempool *pool_;
    std::vector<std::unique_ptr<net_cpu>> cpus_;
    std::array<std::unique_ptr<net_device>, MAX_IFINDEX> devs_;
    std::shared_ptr<rps_state> rps_;
    std::shared_ptr<redirect_state> redirect_;
    ifindex_t last_ifindex_ = 0;
    std::array<std::string, MAX_IFINDEX> last_names_; ///< by number: who has it, or had it last
    unsigned cpuhp_ = 0;                              ///< handle of the step
    /// By foreign thread: held while it sends, and by the control thread while owners of tx queues change.
    std::vector<std::unique_ptr<std::mutex>> foreign_mutexes_;
    rx_handler handler_ = nullptr;
    void *handler_ctx_ = nullptr;
    unsigned backlog_room_;
    /// Written by the control thread, read by data cores; relaxed, values of their own.
    std::atomic<unsigned> netdev_max_backlog_{0}, backlog_share_{0}, skb_defer_max_{0};
    std::atomic<std::uint64_t> foreign_drops_{0}; ///< relaxed counter
    int control_fd_ = -1;                         ///< epoll over the next two
    int posted_fd_ = -1;                          ///< eventfd
    int timer_fd_ = -1;                           ///< timerfd
    ktime_t armed_for_ = KTIME_MAX;               ///< what the timer is set to
    std::mutex posted_mutex_;
    std::vector<std::function<void()>> posted_;
};

} // namespace halfpoll
