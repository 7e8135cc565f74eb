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
#include <utility>
#include <vector>

struct rte_mempool;

namespace halfpoll
{

/// The XDP program of an rx queue, and its origin.
struct xdp_placement {
    xdp_config from; ///< name empty: no program
    std::shared_ptr<xdp_program> program;
    bool operator==(const xdp_placement &) const = default;
};

/// An entry of a redirect map with a program, and the origin of that program.
struct xdp_entry_program {
    std::shared_ptr<xdp_map> map;
    xdp_map_entry entry;
    xdp_config from;
};

/// The parts of a running forwarder, built from a configuration and changed while it forwards. Control thread only.
class router
{
public:
    /// Initialises the EAL, starts the threads, opens the ports, makes the shadows and loads the kernel's routes. On
    /// failure it leaves nothing behind and throws `error`.
    explicit router(config cfg);
    /// Stops forwarding, releases the shadows and closes the ports.
    ~router();
    router(const router &) = delete;
    router &operator=(const router &) = delete;

    const config &cfg() const noexcept { return cfg_; }
    /// Returns cfg() with the changes that `halfpoll set` has made since.
    config running() const;
    /// The CPUs that the process could use before the control thread left the data CPUs.
    const machine &started_on() const noexcept { return started_on_; }
    /// True if a vhost-user peer can map the packet memory.
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
    /// Each feature that works with less than the configuration asks for, with the remedy.
    const std::vector<std::string> &degraded() const noexcept { return degraded_; }
    /// The time at which forwarding began (CLOCK_MONOTONIC).
    ktime_t started() const noexcept { return started_; }

    // Parts of a reload; see reload.hpp.
    /// Opens a port and makes or adopts its shadow. On failure it leaves nothing behind and throws `error`.
    net_device &open_port(const port_config &port);
    /// Takes a port out of service for good and removes its shadow, which stays in the kernel unless `destroy`.
    void close_port(net_device &dev, bool destroy) noexcept;
    /// Returns the options with which the port's device is opened, also when it returns.
    net_device_options options_of(const port_config &port);
    /// Changes a port to configuration `to`. A new device or shadow is opened before the present one is closed. The
    /// interface keeps its ifindex and its programs. Its MAC address becomes `mac`, or the device's address if `mac` is
    /// zero. If the device stays the same and is away, the port keeps waiting for it. Throws `error`; the port is then
    /// unchanged, or out of service with the reason.
    void replace_port(net_device &dev, const port_config &from, const port_config &to, const rte_ether_addr &mac = {});
    /// Releases a port's device and shadow for other ports, until replace_port(). Throws `error`.
    void release_port(net_device &dev, const std::string &why);
    /// Takes a port out of service, with the reason, because it cannot be returned to configuration `port`; the port
    /// then waits for its device.
    void take_out(net_device &dev, const port_config &port, const rte_ether_addr &mac, const std::string &why);
    /// Loads the program of a port; until then the port drops all that it receives. Throws `error`.
    void load_port_xdp(const port_config &port);
    /// Returns the placements by rx queue.
    const std::vector<xdp_placement> &xdp_of(const net_device &dev) { return xdp_[dev.ifindex]; }
    void set_xdp(net_device &dev, const std::vector<xdp_placement> &queues);
    /// Returns the entries of redirect maps whose program is an [xdp.NAME].
    std::vector<xdp_entry_program> entry_programs() const;
    /// Sets an entry, with a program that it loads. Throws `error`; then nothing has changed.
    void load_entry_xdp(xdp_map &map, xdp_map_entry entry, const xdp_config &xdp, std::uint64_t flags = BPF_ANY);
    void adopt(config cfg);

    // Settings. On failure they change nothing and throw `error`.
    void set_netdev_budget(unsigned packets, unsigned usecs);
    void set_netdev_max_backlog(unsigned packets);
    void set_skb_defer_max(unsigned packets);
    void set_punt_limit(punt_class c, const punt_limit &limit);
    void set_rps_sock_flow_entries(unsigned entries);
    void set_flow_limit(const flow_limit_config &limit);
    void set_obey(const policy_set &kinds);
    void set_kernel_pass(bool allowed);
    void set_log(const log_config &log);
    /// Loads a program and attaches it to an rx queue, in place of the program there. Throws `error`.
    void attach_xdp(net_device &dev, const xdp_config &xdp, int queue = XDP_ALL_QUEUES);
    void detach_xdp(net_device &dev, int queue = XDP_ALL_QUEUES);
    /// Sets an entry of a redirect map; the entry may name a program of the configuration. Throws `error`.
    void update_xdp_map(xdp_map &map, const xdp_map_entry_config &entry, std::uint64_t flags = BPF_ANY);
    /// Takes a runtime CPU offline, where autoscaling leaves it, or back online. Throws `error`.
    void set_cpu_online(unsigned cpu, bool online);
    /// Makes the missing kernel interfaces of shadows again; returns one line for each failure.
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
    std::vector<irq_thread> irq_threads_; ///< the threads that were started
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
    /// The programs that were loaded for entries of redirect maps, and their origin.
    std::vector<std::pair<std::weak_ptr<xdp_program>, xdp_config>> entry_xdp_;
    std::map<ifindex_t, std::string> said_; ///< the last logged state of each port
};

} // namespace halfpoll
