// SPDX-License-Identifier: BSD-3-Clause
#include "router.hpp"
#include "log.hpp"

#include <halfpoll/af_xdp.hpp>
#include <halfpoll/eal.hpp>
#include <halfpoll/ethdev.hpp>

#include <algorithm>
#include <sched.h>

namespace halfpoll
{

namespace
{

/// The threads that are made from here on, and this one, leave the data CPUs alone as far as there are others.
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

bool is_virtio_user(const port_config &port) { return port.device.starts_with("net_virtio_user"); }

} // namespace

router::router(const config &cfg) : cfg_(cfg)
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
    start_runtime();
    core_ = std::make_unique<net_core>(*runtime_, pool_);
    core_->on_change = [this](net_device &dev) { on_change(dev); };
    slow_path_options slow;
    slow.netns = cfg_.netns;
    slow.affinity = cfg_.slow_path_cpu;
    slow.limits = cfg_.punt;
    slow_ = std::make_unique<slow_path>(*core_, slow);
    forwarder_ = std::make_unique<forwarder>(*core_, slow_.get());
    core_->set_rx_handler(forwarder::receive, forwarder_.get());
    for (const port_config &port : cfg_.ports) {
        add_port(port);
    }
    mirror_ = std::make_unique<mirror>(*forwarder_, *slow_, cfg_.netns);
    started_ = ktime_get();
    for (const net_device *dev : core_->devices()) {
        if (!dev->carrier.load(std::memory_order_relaxed)) {
            log_line(dev->name + ": no carrier");
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
    options.shareable = std::ranges::any_of(cfg_.ports, is_virtio_user);
    options.hugepages = cfg_.hugepages;
    options.memory_mb = cfg_.memory_mb;
    options.vfio_intr = cfg_.vfio_intr;
    options.control_cpu = cfg_.slow_path_cpu >= 0 ? static_cast<unsigned>(cfg_.slow_path_cpu) : cfg_.cpus.front();
    for (const std::string &note : eal_init(options)) {
        degrade(note);
    }
    pool_ = packet_pool_create("packets", cfg_.mbufs, BUFFER_DATA_ROOM);
}

void router::start_runtime()
{
    runtime_options options;
    options.cpus.clear();
    for (unsigned cpu : cfg_.cpus) {
        options.cpus.push_back({static_cast<int>(cpu), cfg_.fifo_priority});
    }
    options.netdev_budget = cfg_.netdev_budget;
    options.netdev_budget_usecs = cfg_.netdev_budget_usecs;
    options.interrupts = cfg_.interrupts;
    options.warn = [this](const std::string &what) { degrade(what); };
    runtime_ = std::make_unique<runtime>(options);
}

void router::add_port(const port_config &port)
{
    const auto find = [this, &port] {
        const auto warn = [this](const std::string &what) { degrade(what); };
        return port.kind == device_kind::af_xdp ? make_af_xdp_port(port.ifname(), warn)
                                                : make_ethdev_port(port.device, warn);
    };
    net_device_options options = port.options;
    options.reprobe = find;
    net_device &dev = core_->register_netdevice(find(), options);
    shadow &s = slow_->add_shadow(dev, port.shadow);
    slow_->set_carrier(s, dev.carrier.load(std::memory_order_relaxed));
}

void router::on_change(net_device &dev)
{
    const bool up = dev.carrier.load(std::memory_order_relaxed);
    if (shadow *s = slow_ ? slow_->of_device(dev) : nullptr) {
        slow_->set_carrier(*s, up);
    }
    if (mirror_) {
        mirror_->device_changed(dev);
        const std::string state = dev.failure.empty() ? up ? "link up" : "link down" : "out of service: " + dev.failure;
        if (std::string &said = said_[dev.ifindex]; said != state) {
            said = state;
            log_line(dev.name + ": " + state);
        }
    }
}

void router::degrade(const std::string &what)
{
    if (std::ranges::count(degraded_, what) == 0) { // a port that returns says it again
        degraded_.push_back(what);
        log_line(what);
    }
}

void router::stop() noexcept
{
    if (core_) {
        core_->on_change = nullptr;
        // No port receives any more before the first one goes: the forwarding tables still point to all of them.
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
