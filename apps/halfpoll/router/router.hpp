// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "apps/halfpoll/config/config.hpp"
#include "apps/halfpoll/config/irq_threads.hpp"
#include "tracer.hpp"

#include "forward/mirror/mirror.hpp"
#include "forward/packet/forwarder.hpp"

#include <halfpoll/autoscaler.hpp>
#include <halfpoll/net_core.hpp>
#include <halfpoll/runtime.hpp>
#include <halfpoll/slow_path.hpp>
#include <halfpoll/xdp.hpp>
#include <halfpoll/xdp_map.hpp>

#include <map>
#include <memory>
#include <string>
#include <vector>

struct rte_mempool;

namespace halfpoll
{

/// The XDP program of an rx queue, and where it comes from.
struct xdp_placement {
    xdp_config from; ///< name empty: none
    std::shared_ptr<xdp_program> program;
    bool operator==(const xdp_placement &) const = default;
};

/// The parts of a running forwarder, put together as a configuration says, and changed while it forwards. Control
/// thread only.
class router
{
public:
    /// Initialises the EAL, starts the threads, opens the ports, makes the shadows and loads the kernel's routes.
    /// Throws `error`; nothing is left behind then.
    explicit router(config cfg);
    /// Stops forwarding, lets go of the shadows and closes the ports.
    ~router();
    router(const router &) = delete;
    router &operator=(const router &) = delete;

    const config &cfg() const noexcept { return cfg_; }
    /// cfg() with the settings that `halfpoll set` has changed since.
    config running() const;
    /// The CPUs as they were before the control thread left those of the data path.
    const machine &started_on() const noexcept { return started_on_; }
    /// Packet memory that a vhost-user peer can map.
    bool shareable() const noexcept { return shareable_; }
    runtime &rt() noexcept { return *runtime_; }
    net_core &core() noexcept { return *core_; }
    slow_path &slow() noexcept { return *slow_; }
    forwarder &fwd() noexcept { return *forwarder_; }
    mirror &kernel() noexcept { return *mirror_; }
    autoscaler &scaler() noexcept { return *scaler_; }
    const autoscaler &scaler() const noexcept { return *scaler_; }
    tracer &trace() noexcept { return *tracer_; }
    rte_mempool *pool() noexcept { return pool_; }
    /// What runs with less than was asked for, and the remedy.
    const std::vector<std::string> &degraded() const noexcept { return degraded_; }
    /// When the router began to forward (CLOCK_MONOTONIC).
    ktime_t started() const noexcept { return started_; }

    // Parts of a reload; see reload.hpp.
    /// Opens a port and makes or adopts its shadow. Throws `error`; nothing is left behind then.
    net_device &open_port(const port_config &port);
    /// Takes a port out of service for good and lets go of its shadow, which stays in the kernel unless `destroy`.
    void close_port(net_device &dev, bool destroy) noexcept;
    /// How the port's device is opened, and found again.
    net_device_options options_of(const port_config &port);
    /// Brings a port to another configuration, with another device or shadow if that says so: these are opened before
    /// the present ones are closed. The interface keeps its number and its programs; it gets `mac`, or if that is zero
    /// the device's address. A device that it had and that is away is looked for as before. Throws `error`; the port is
    /// as it was then, or out of service, with the reason.
    void replace_port(net_device &dev, const port_config &from, const port_config &to, const rte_ether_addr &mac = {});
    /// Lets go of a port's device and shadow, for others, until replace_port(). Throws `error`.
    void release_port(net_device &dev, const std::string &why);
    /// A port that cannot be brought back to a configuration is out of service, with the reason, and its device is
    /// looked for.
    void take_out(net_device &dev, const port_config &port, const rte_ether_addr &mac, const std::string &why);
    /// Loads the program that a port was opened for; until then it drops what it receives. Throws `error`.
    void load_port_xdp(const port_config &port);
    /// By rx queue.
    const std::vector<xdp_placement> &xdp_of(const net_device &dev) { return xdp_[dev.ifindex]; }
    void set_xdp(net_device &dev, const std::vector<xdp_placement> &queues);
    void adopt(config cfg);

    // Settings. Throw `error`, and change nothing then.
    void set_netdev_budget(unsigned packets, unsigned usecs);
    void set_netdev_max_backlog(unsigned packets);
    void set_skb_defer_max(unsigned packets);
    void set_punt_limit(punt_class c, const punt_limit &limit);
    void set_rps_sock_flow_entries(unsigned entries);
    void set_flow_limit(const flow_limit_config &limit);
    void set_log(const log_config &log);
    /// Loads a program and attaches it to an rx queue, in place of the one that is there. Throws `error`.
    void attach_xdp(net_device &dev, const xdp_config &xdp, int queue = XDP_ALL_QUEUES);
    void detach_xdp(net_device &dev, int queue = XDP_ALL_QUEUES);
    /// Sets an entry of a redirect map, with a program of the configuration. Throws `error`.
    void update_xdp_map(xdp_map &map, const xdp_map_entry_config &entry, std::uint64_t flags = BPF_ANY);
    /// Takes a runtime CPU offline, where autoscaling leaves it, or back. Throws `error`.
    void set_cpu_online(unsigned cpu, bool online);
    /// Makes shadows again whose kernel interface is missing; what fails, as one line each.
    std::vector<std::string> mend_shadows();

private:
    void start();
    void start_eal();
    void look_at_buffers(const config &cfg);
    void start_runtime();
    std::vector<unsigned> homes_of(const port_config &port) const;
    void start_scaler();
    void replace_device(net_device &dev, const port_config &from, const port_config &to, const rte_ether_addr &mac);
    void put_back_shadow(shadow &s, const std::string &identity, bool created) noexcept;
    void make_xdp_maps();
    void fill_xdp_maps();
    void place_xdp(net_device &dev, int queue, const xdp_placement &placement);
    void on_deleted(shadow &s);
    void on_change(net_device &dev);
    void stop() noexcept;
    void degrade(const std::string &what);

    config cfg_;
    machine started_on_;
    std::vector<irq_thread> irq_threads_; ///< that were started
    bool shareable_ = false;
    std::vector<std::string> degraded_;
    rte_mempool *pool_ = nullptr;
    std::unique_ptr<runtime> runtime_;
    std::unique_ptr<tracer> tracer_;
    std::unique_ptr<autoscaler> scaler_;
    std::unique_ptr<net_core> core_;
    std::unique_ptr<slow_path> slow_;
    std::unique_ptr<forwarder> forwarder_;
    std::unique_ptr<mirror> mirror_;
    ktime_t started_ = 0;
    std::map<ifindex_t, std::vector<xdp_placement>> xdp_;
    std::map<ifindex_t, std::string> said_; ///< the last state of each port that was logged
};

} // namespace halfpoll
