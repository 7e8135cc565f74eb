// SPDX-License-Identifier: BSD-3-Clause
#include "router.hpp"
#include "apps/halfpoll/config/buffer_need.hpp"
#include "apps/halfpoll/config/config_diff.hpp"
#include "apps/halfpoll/log/dpdk_log.hpp"
#include "apps/halfpoll/log/log.hpp"

#include <halfpoll/af_xdp.hpp>
#include <halfpoll/eal.hpp>
#include <halfpoll/ethdev.hpp>
#include <halfpoll/flow_hash.hpp>

#include <algorithm>
#include <filesystem>
#include <sched.h>
#include <utility>

namespace halfpoll
{

namespace
{

/// Excludes the data CPUs from the affinity of this thread and of the threads that it makes later. Does nothing if no
/// other CPU is left.
void leave_cpus(const std::vector<unsigned> &data_cpus)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) {
        throw_errno(errno, "cannot read the CPU affinity of the process");
    }
    for (unsigned cpu : data_cpus) {
        CPU_CLR(cpu, &set);
    }
    if (CPU_COUNT(&set) > 0 && sched_setaffinity(0, sizeof set, &set) != 0) {
        throw_errno(errno, "cannot move the control thread off the data CPUs");
    }
}

/// A program that drops all packets, for ports whose own program is not loaded yet.
std::shared_ptr<xdp_program> closed_gate()
{
    return make_xdp_program("closed",
                            [](halfpoll_xdp_burst &, std::uint32_t) noexcept -> std::uint8_t { return XDP_DROP; });
}

/// By default, traces of `halfpoll trace` are written to the folder of the control socket, where the client finds them.
std::string trace_dir(const config &cfg)
{
    return cfg.trace.empty() && cfg.trace_dir.empty() ? std::filesystem::absolute(cfg.control).parent_path().string()
                                                      : cfg.trace_dir;
}

} // namespace

router::router(config cfg) : cfg_(std::move(cfg)), started_on_(machine::detect())
{
    try {
        start();
    } catch (...) {
        stop();
        throw;
    }
}

router::~router() { stop(); }

void router::start()
{
    leave_cpus(cfg_.cpus);
    start_eal();
    look_at_buffers(cfg_);
    start_runtime();
    if (!cfg_.flow_hash_key.empty()) {
        set_flow_hash_key(cfg_.flow_hash_key);
    }
    core_ = std::make_unique<net_core>(*runtime_, pool_, cfg_.slow_path_threads, cfg_.netdev_max_backlog);
    set_skb_defer_max(cfg_.skb_defer_max);
    set_rps_sock_flow_entries(cfg_.rps_sock_flow_entries);
    set_flow_limit(cfg_.flow_limit);
    core_->on_change = [this](net_device &dev) { on_change(dev); };
    core_->on_reopen = [](net_device &dev, const std::string &why) {
        log_line(log_level::info, dev.name, dev.name + ": opened again: " + why);
    };
    slow_path_options slow;
    slow.netns = cfg_.netns;
    slow.threads = cfg_.slow_path_threads;
    slow.affinity = cfg_.slow_path_cpu;
    slow.limits = cfg_.punt;
    slow.vhost = cfg_.slow_path_vhost;
    slow_ = std::make_unique<slow_path>(*core_, slow);
    slow_->allow_pass(cfg_.kernel_pass);
    slow_->on_deleted = [this](shadow &s) { on_deleted(s); };
    slow_->on_place = [](const shadow &s) {
        log_line(log_level::info, "shadow",
                 "shadow of port " + s.dev->name + ": it is " + s.name + " now" +
                     (s.moved ? ", in another network namespace" : ""));
    };
    forwarder_ = std::make_unique<forwarder>(*core_, slow_.get());
    core_->set_rx_handler(forwarder::receive, forwarder_.get());
    for (const port_config &port : cfg_.ports) {
        open_port(port);
    }
    make_xdp_maps();
    fill_xdp_maps();
    for (const port_config &port : cfg_.ports) { // after all ports are open, for programs may name them
        load_port_xdp(port);
    }
    mirror_ = std::make_unique<mirror>(*forwarder_, *slow_, cfg_.netns);
    mirror_->on_policy_news = [](policy_news::event what, const std::string &text) {
        log_line(what == policy_news::event::appeared ? log_level::warning : log_level::info, "policy", text);
    };
    set_obey(cfg_.obey);
    start_scaler();
    started_ = ktime_get();
    for (const net_device *dev : core_->devices()) {
        if (!dev->carrier.load(std::memory_order_relaxed)) {
            log_line(log_level::warning, "link", dev->name + ": no carrier");
        }
    }
}

void router::start_eal()
{
    eal_options options;
    for (const port_config &port : cfg_.ports) {
        if (port.kind == device_kind::pci) {
            options.pci.push_back(port.device);
        }
    }
    options.shareable = shareable_ = std::ranges::any_of(cfg_.ports, maps_memory);
    options.hugepages = cfg_.hugepages;
    options.memory_mb = cfg_.memory_mb;
    options.vfio_intr = cfg_.vfio_intr;
    options.trace = cfg_.trace;
    options.trace_dir = trace_dir(cfg_);
    options.control_cpu = cfg_.slow_path_cpu.empty() ? cfg_.cpus.front() : cfg_.slow_path_cpu.front();
    for (const std::string &note : eal_init(options)) {
        degrade(note);
    }
    redirect_dpdk_log();
    const bool preempted = cfg_.exclusion == exclusion_mode::nested;
    pool_ = packet_pool_create("packets", cfg_.mbufs, BUFFER_DATA_ROOM, PACKET_CACHE,
                               preempted ? pool_users::preempted : pool_users::apart);
}

void router::look_at_buffers(const config &cfg)
{
    if (const buffer_shortage shortage = find_shortage(cfg); !shortage.problem.empty()) {
        degrade(shortage.problem + ": " + shortage.remedy);
    }
}

/// Makes `cfg` the configuration in use. The pool keeps its size.
void router::adopt(config cfg)
{
    cfg.mbufs = cfg_.mbufs;
    cfg_ = std::move(cfg);
    look_at_buffers(cfg_);
}

void router::start_runtime()
{
    runtime_options options;
    options.cpus.clear();
    for (unsigned cpu : cfg_.cpus) {
        options.cpus.push_back({.affinity = static_cast<int>(cpu), .fifo_priority = cfg_.fifo_priority});
    }
    irq_threads_ = irq_threads(cfg_);
    for (const irq_thread &irq : irq_threads_) {
        options.cpus.push_back({.affinity = static_cast<int>(irq.affinity),
                                .fifo_priority = irq.fifo_priority,
                                .name = irq.name,
                                .dedicated = true});
    }
    options.netdev_budget = cfg_.netdev_budget;
    options.netdev_budget_usecs = cfg_.netdev_budget_usecs;
    options.interrupts = cfg_.interrupts;
    options.exclusion = cfg_.exclusion;
    options.ksoftirqd = cfg_.ksoftirqd;
    options.irq_workd = cfg_.irq_workd;
    options.thread_backlog_napi = cfg_.thread_backlog_napi;
    options.napi_fifo_priority = cfg_.napi_fifo_priority;
    options.warn = [this](const std::string &what) { degrade(what); };
    runtime_ = std::make_unique<runtime>(options);
    tracer_ = std::make_unique<tracer>(*runtime_, cfg_.trace);
}

void router::start_scaler()
{
    scaler_ = std::make_unique<autoscaler>(*runtime_);
    scaler_->warn = [](const std::string &what) { log_line(log_level::warning, "cpu", what); };
    scaler_->on_change = [](unsigned cpu, bool online) {
        log_line(log_level::debug, "cpu",
                 "runtime CPU " + std::to_string(cpu) + (online ? " is back: packets waited" : " is parked"));
    };
    scaler_->set(cfg_.autoscale);
}

/// Returns the runtime CPUs of a port's rx queues: those of its interrupt threads, if it has any.
std::vector<unsigned> router::homes_of(const port_config &port) const
{
    std::vector<unsigned> homes = port.options.cpus;
    if (!port.irq_priority.empty()) {
        homes.clear();
        for (std::size_t i = 0; i < irq_threads_.size(); ++i) {
            if (irq_threads_[i].port == port.options.name) {
                homes.push_back(static_cast<unsigned>(cfg_.cpus.size() + i));
            }
        }
    }
    return homes;
}

net_device_options router::options_of(const port_config &port)
{
    net_device_options options = port.options;
    options.cpus = homes_of(port);
    options.reprobe = [this, port] {
        const auto warn = [this](const std::string &what) { degrade(what); };
        return port.kind == device_kind::af_xdp ? make_af_xdp_port(port.ifname(), warn)
                                                : make_ethdev_port(port.device, warn);
    };
    return options;
}

net_device &router::open_port(const port_config &port)
{
    net_device_options options = options_of(port);
    if (!port.xdp.name.empty()) {
        options.xdp = closed_gate();
    }
    net_device &dev = core_->register_netdevice(options.reprobe(), options);
    xdp_[dev.ifindex].assign(options.rx_queues, {});
    try {
        shadow &s = slow_->add_shadow(dev, port.shadow);
        slow_->set_carrier(s, dev.carrier.load(std::memory_order_relaxed));
    } catch (...) {
        xdp_.erase(dev.ifindex);
        core_->unregister_netdevice(dev);
        throw;
    }
    if (mirror_) {
        mirror_->device_changed(dev);
    }
    return dev;
}

void router::close_port(net_device &dev, bool destroy) noexcept
{
    said_[dev.ifindex] = "out of service: removed"; // the caller logs the removal, so on_change() does not
    dev.options.reprobe = nullptr;
    core_->fail_netdevice(dev, "removed");
    if (shadow *s = slow_->of_device(dev)) {
        slow_->remove_shadow(*s, destroy);
        mirror_->device_changed(dev); // the mirror drops its references to the device
    }
    said_.erase(dev.ifindex);
    xdp_.erase(dev.ifindex);
    core_->unregister_netdevice(dev);
}

void router::replace_port(net_device &dev, const port_config &from, const port_config &to, const rte_ether_addr &mac)
{
    shadow &s = *slow_->of_device(dev);
    const std::string identity = s.identity;
    const bool created = s.created;
    const bool other_shadow = identity != to.shadow || !s.failure.empty();
    if (other_shadow) {
        slow_->exchange_shadow(s, to.shadow);
    }
    try {
        replace_device(dev, from, to, mac);
    } catch (...) {
        if (other_shadow) {
            put_back_shadow(s, identity, created);
        }
        throw;
    }
    slow_->set_address(s);
    mirror_->device_changed(dev);
}

void router::replace_device(net_device &dev, const port_config &from, const port_config &to, const rte_ether_addr &mac)
{
    net_device_options options = options_of(to);
    const bool other = device_identity(from) != device_identity(to);
    std::unique_ptr<port> driver;
    if (other || !dev.open) {
        try {
            driver = options.reprobe();
        } catch (const device_absent &) {
            if (other) {
                throw;
            } // the port's own device is away; the port keeps waiting for it
        }
    }
    core_->replace_netdevice(dev, std::move(options), std::move(driver), mac);
    std::vector<xdp_placement> &queues = xdp_.at(dev.ifindex);
    const xdp_placement last = queues.back();
    queues.resize(dev.options.rx_queues, last); // netio does the same with the attached programs
}

/// Returns a port to its former shadow, and destroys the interface that was made in its place.
void router::put_back_shadow(shadow &s, const std::string &identity, bool created) noexcept
{
    const std::string other = s.identity;
    const bool made = s.created && other != identity;
    try {
        slow_->exchange_shadow(s, identity);
        s.created = created;
        if (made) {
            slow_->destroy_released(other);
        }
    } catch (const std::exception &e) {
        s.identity = identity; // mend_shadows() retries with it
        s.failure = e.what();
    }
}

void router::release_port(net_device &dev, const std::string &why)
{
    said_[dev.ifindex] = "out of service: " + why; // not a failure, so on_change() does not log it
    core_->fail_netdevice(dev, why);
    slow_->release_shadow(*slow_->of_device(dev), why);
    mirror_->device_changed(dev);
}

void router::take_out(net_device &dev, const port_config &port, const rte_ether_addr &mac, const std::string &why)
{
    core_->fail_netdevice(dev, why);
    core_->replace_netdevice(dev, options_of(port));
    dev.failure = dev.cause = why;
    dev.mac = mac;
    xdp_.at(dev.ifindex).resize(dev.options.rx_queues, xdp_.at(dev.ifindex).back());
    shadow &s = *slow_->of_device(dev);
    if (s.identity != port.shadow || !s.failure.empty()) {
        put_back_shadow(s, port.shadow, s.created);
    }
    mirror_->device_changed(dev);
}

void router::load_port_xdp(const port_config &port)
{
    if (!port.xdp.name.empty()) {
        attach_xdp(*core_->dev_get_by_name(port.options.name), port.xdp);
    }
}

void router::set_xdp(net_device &dev, const std::vector<xdp_placement> &queues)
{
    for (std::size_t queue = 0; queue < queues.size(); ++queue) {
        place_xdp(dev, static_cast<int>(queue), queues[queue]);
    }
}

void router::place_xdp(net_device &dev, int queue, const xdp_placement &placement)
{
    if (placement.program) {
        xdp_attach(*core_, dev, placement.program, queue);
    } else {
        xdp_detach(*core_, dev, queue);
    }
    std::vector<xdp_placement> &queues = xdp_.at(dev.ifindex);
    if (queue == XDP_ALL_QUEUES) {
        std::ranges::fill(queues, placement);
    } else {
        queues[static_cast<std::size_t>(queue)] = placement;
    }
    const std::string which = queue == XDP_ALL_QUEUES ? "" : ", queue " + std::to_string(queue);
    log_line(log_level::info, "xdp",
             dev.name + which + ": " + (placement.program ? "XDP program " + placement.from.name : "no XDP program"));
}

void router::attach_xdp(net_device &dev, const xdp_config &xdp, int queue)
{
    place_xdp(dev, queue, {xdp, xdp_load(*core_, xdp.file, xdp.config)});
}

/// Makes the maps, without entries, before any program is loaded: programs find them by name.
void router::make_xdp_maps()
{
    for (const xdp_map_config &map : cfg_.xdp_maps) {
        xdp_map_create(*core_, map.name, map.type, map.max_entries);
    }
}

/// Fills the maps when ports are open and maps exist: entries name ports and programs, and programs may name maps.
void router::fill_xdp_maps()
{
    for (const xdp_map_config &map : cfg_.xdp_maps) {
        for (const xdp_map_entry_config &entry : map.entries) {
            update_xdp_map(*xdp_map_find(*core_, map.name), entry);
        }
    }
}

void router::update_xdp_map(xdp_map &map, const xdp_map_entry_config &entry, std::uint64_t flags)
{
    xdp_map_entry wanted{.key = entry.key};
    if (map.type == xdp_map_type::cpumap) {
        wanted.qsize = entry.qsize;
    } else {
        const net_device *dev = core_->dev_get_by_name(entry.port);
        if (!dev) {
            throw error("no port \"" + entry.port + "\" (halfpoll show interfaces)");
        }
        wanted.ifindex = dev->ifindex;
    }
    if (entry.xdp.empty()) {
        return map.update(wanted, flags);
    }
    const auto program = std::ranges::find(cfg_.xdp, entry.xdp, &xdp_config::name);
    if (program == cfg_.xdp.end()) {
        throw error("no [xdp." + entry.xdp + "] in the configuration");
    }
    load_entry_xdp(map, wanted, *program, flags);
}

void router::load_entry_xdp(xdp_map &map, xdp_map_entry entry, const xdp_config &xdp, std::uint64_t flags)
{
    entry.prog = xdp_load(*core_, xdp.file, xdp.config);
    map.update(entry, flags);
    std::erase_if(entry_xdp_, [](const auto &loaded) { return loaded.first.expired(); });
    entry_xdp_.emplace_back(entry.prog, xdp);
}

std::vector<xdp_entry_program> router::entry_programs() const
{
    std::vector<xdp_entry_program> programs;
    for (const std::shared_ptr<xdp_map> &map : xdp_maps(*core_)) {
        for (const xdp_map_entry &entry : map->entries()) {
            const auto loaded = std::ranges::find_if(
                entry_xdp_, [&](const auto &l) { return entry.prog && l.first.lock() == entry.prog; });
            if (loaded != entry_xdp_.end()) {
                programs.push_back({map, entry, loaded->second});
            }
        }
    }
    return programs;
}

void router::detach_xdp(net_device &dev, int queue) { place_xdp(dev, queue, {}); }

config router::running() const
{
    config now = cfg_;
    now.netdev_budget = runtime_->netdev_budget();
    now.netdev_budget_usecs = runtime_->netdev_budget_usecs();
    now.netdev_max_backlog = core_->netdev_max_backlog();
    now.skb_defer_max = core_->skb_defer_max();
    now.autoscale = scaler_->limits();
    for (port_config &port : now.ports) {
        const net_device &dev = *core_->dev_get_by_name(port.options.name);
        const napi_config loaded = std::exchange(port.options.napi, dev.options.napi);
        const rps_config loaded_rps = std::exchange(port.options.rps, dev.options.rps);
        for (const auto &queue : dev.queues) {
            // No race: only napi_configure() writes the settings, and only this thread calls it.
            if (queue->napi.config != loaded) {
                port.options.napi = queue->napi.config;
            }
            if (queue->rps_settings != loaded_rps) {
                port.options.rps = queue->rps_settings;
            }
        }
        const xdp_config loaded_xdp = port.xdp;
        for (const xdp_placement &placement : xdp_.at(dev.ifindex)) {
            if (placement.from != loaded_xdp) {
                port.xdp = placement.from;
            }
        }
    }
    return now;
}

void router::set_netdev_budget(unsigned packets, unsigned usecs) { runtime_->set_netdev_budget(packets, usecs); }

void router::set_netdev_max_backlog(unsigned packets)
{
    core_->set_netdev_max_backlog(packets);
    config now = cfg_;
    now.netdev_max_backlog = packets;
    look_at_buffers(now);
}

void router::set_skb_defer_max(unsigned packets) { core_->set_skb_defer_max(packets); }

void router::set_punt_limit(punt_class c, const punt_limit &limit)
{
    slow_->set_limit(c, limit);
    cfg_.punt[c] = limit;
}

void router::set_rps_sock_flow_entries(unsigned entries)
{
    halfpoll::set_rps_sock_flow_entries(*core_, entries);
    cfg_.rps_sock_flow_entries = entries;
}

void router::set_flow_limit(const flow_limit_config &limit)
{
    halfpoll::set_flow_limit(*core_, limit);
    cfg_.flow_limit = limit;
}

void router::set_kernel_pass(bool allowed)
{
    if (allowed == cfg_.kernel_pass) {
        return;
    }
    slow_->allow_pass(allowed);
    for (net_device *dev : core_->devices()) {
        mirror_->device_changed(*dev);
    }
    cfg_.kernel_pass = allowed;
}

void router::set_obey(const policy_set &kinds)
{
    for (std::size_t kind = 0; kind < kinds.size(); ++kind) {
        if (!kinds[kind] && mirror_->policies().obeys(static_cast<policy_kind>(kind))) {
            log_line(log_level::warning, "policy",
                     "does not obey " + std::string(policy_kind_names[kind]) + ", as configured");
        }
    }
    mirror_->policies().obey(kinds);
    cfg_.obey = kinds;
}

void router::set_cpu_online(unsigned cpu, bool online)
{
    if (online) {
        runtime_->cpu_up(cpu);
    } else if (!scaler_->has_parked(cpu)) {
        runtime_->cpu_down(cpu);
    }
    scaler_->leave_alone(cpu, !online);
    log_line(log_level::info, "cpu", "runtime CPU " + std::to_string(cpu) + (online ? ": online" : ": offline"));
}

void router::set_log(const log_config &log)
{
    log_open(log);
    cfg_.log = log;
}

std::vector<std::string> router::mend_shadows()
{
    std::vector<std::string> problems;
    for (shadow *s : slow_->shadows()) {
        if (s->failure.empty()) {
            continue;
        }
        try {
            slow_->reopen_shadow(*s);
            mirror_->device_changed(*s->dev);
            log_line(log_level::info, "shadow", "shadow " + s->name + ": made again; it has no addresses now");
        } catch (const std::exception &e) {
            problems.emplace_back(e.what());
        }
    }
    return problems;
}

/// Called when a user has deleted a shadow's kernel interface. The interface is made again: the port is useless without
/// it, and `ip` is not the way to delete a port.
void router::on_deleted(shadow &s)
{
    log_line(log_level::warning, "shadow", "shadow " + s.name + ": its kernel interface was deleted");
    if (mirror_) {
        mirror_->device_changed(*s.dev);
        for (const std::string &problem : mend_shadows()) {
            log_line(log_level::error, "shadow", problem + "; `halfpoll reload` tries again");
        }
    }
}

void router::on_change(net_device &dev)
{
    const bool up = dev.carrier.load(std::memory_order_relaxed);
    shadow *s = slow_ ? slow_->of_device(dev) : nullptr;
    if (s) {
        slow_->set_carrier(*s, up);
    }
    if (!mirror_) {
        return;
    }
    mirror_->device_changed(dev);
    const std::string state = !dev.failure.empty() ? "out of service: " + dev.failure : up ? "link up" : "link down";
    if (s && std::exchange(said_[dev.ifindex], state) != state) {
        log_line(dev.failure.empty() ? log_level::info : log_level::error, dev.name, dev.name + ": " + state);
    }
}

void router::degrade(const std::string &what)
{
    if (std::ranges::count(degraded_, what) == 0) { // a port that returns repeats its messages
        degraded_.push_back(what);
        log_line(log_level::warning, "degraded", what);
    }
}

void router::stop() noexcept
{
    tracer_.reset();
    scaler_.reset();
    if (core_) {
        core_->on_change = nullptr;
        // All ports stop receiving before the first is removed: the forwarding tables still point to all of them.
        for (net_device *dev : core_->devices()) {
            core_->fail_netdevice(*dev, "halfpoll stops");
        }
    }
    mirror_.reset();
    if (slow_) {
        for (shadow *s : slow_->shadows()) {
            slow_->remove_shadow(*s, cfg_.remove_shadows && s->created);
        }
    }
    slow_.reset();
    if (core_) {
        for (net_device *dev : core_->devices()) {
            core_->unregister_netdevice(*dev);
        }
    }
    forwarder_.reset();
    core_.reset();
    runtime_.reset();
    if (pool_) {
        packet_pool_free(pool_);
        pool_ = nullptr;
    }
}

} // namespace halfpoll
