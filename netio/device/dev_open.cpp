// SPDX-License-Identifier: BSD-3-Clause
//
// Taking a device into and out of service:
//
//   register -> open -> start ... stop, close -> unregister
//                 ^                    |            (dev_replace.cpp: another device takes over)
//                 +-- reopen, reset ---+---> failed: looked for again (dev_return.cpp)
#include "net_core_impl.hpp"
#include "net_rx_poll.hpp"
#include "netio/steering/rps_internal.hpp"
#include "netio/xdp/redirect.hpp"
#include "netio/xdp/xdp_internal.hpp"
#include "netio/xmit/handover.hpp"
#include "netio/xmit/xmit.hpp"

#include <algorithm>
#include <cstdio>

namespace halfpoll
{
namespace
{

std::unique_ptr<rx_queue> make_queue(net_device &dev, unsigned queue, net_cpu &cpu)
{
    auto q = std::make_unique<rx_queue>();
    q->dev = &dev;
    q->driver = dev.driver.get();
    q->cpu = &cpu;
    q->queue = static_cast<std::uint16_t>(queue);
    napi_struct &napi = q->napi;
    napi.config = dev.options.napi;
    std::snprintf(napi.name, sizeof napi.name, "%s-%u", dev.name.c_str(), queue);
    return q;
}

struct start_of_ladder {
    wait_rung rung;
    const char *reason;
};

/// Whether the CPU has a real-time priority and shares its logical CPU: an instance that polls without end would then
/// starve the runtime CPUs of lower priority.
bool keeps_others_waiting(const net_cpu &cpu)
{
    const runtime &rt = cpu.core->rt();
    return rt.shares_core(cpu.id) && rt.options().cpus[cpu.id].fifo_priority > 0;
}

/// Chooses how a queue waits, and sets the members of the NAPI instance that this needs.
start_of_ladder choose_rung(rx_queue &q)
{
    net_device &dev = *q.dev;
    const rx_wait wait = dev.driver->wait_of(q.queue);
    const unsigned descriptors = dev.driver->info().rx_descriptors;
    const std::uint64_t bps = dev.driver->link().speed_mbps * std::uint64_t{1'000'000};
    constexpr std::uint64_t assumed_bps = 10'000'000'000; // for a virtual device that states no speed
    if (descriptors != 0) {
        q.napi.timed_sleep = hybrid_timed_sleep(descriptors, bps != 0 ? bps : assumed_bps);
    }
    if (wait.fd >= 0) {
        q.napi.irq = &net_rx_irq_ops;
        q.napi.source.fd = wait.fd;
        q.napi.source.kind = wait.kind;
    }
    if (dev.options.force_spin) {
        return {wait_rung::spin, "configured"};
    }
    if (wait.fd >= 0) {
        return {wait_rung::interrupt, ""};
    }
    const bool spins = descriptors == 0 && !keeps_others_waiting(*q.cpu);
    return {spins ? wait_rung::spin : wait_rung::timed, wait.reason};
}

bool same(const rte_ether_addr &a, const rte_ether_addr &b) { return rte_is_same_ether_addr(&a, &b) != 0; }

} // namespace

void net_core::check_options(const port &driver, const net_device_options &options) const
{
    const port_info info = driver.info();
    if (options.rx_queues == 0 || options.rx_queues > info.max_rx_queues) {
        throw error(options.name + ": " + info.driver + " offers " + std::to_string(info.max_rx_queues) +
                    " rx queues, not " + std::to_string(options.rx_queues));
    }
    if (options.mtu < info.min_mtu || options.mtu > info.max_mtu) {
        throw error(options.name + ": " + info.driver + " takes an MTU from " + std::to_string(info.min_mtu) + " to " +
                    std::to_string(info.max_mtu) + ", not " + std::to_string(options.mtu));
    }
    for (unsigned c : options.cpus) {
        if (c >= cpus()) {
            throw error(options.name + ": CPU " + std::to_string(c) + " is not one of the " + std::to_string(cpus()) +
                        " runtime CPUs (numbered from 0)");
        }
    }
    rps_check(options.rps, cpus(), options.name);
}

/// Opens a driver with the options and, unless `mac` is zero, with that address; afterwards `mac` is the device's
/// address. Returns the number of tx queues. The caller closes the driver, also after a throw.
unsigned net_core::open_driver(port &driver, const net_device_options &options, rte_ether_addr &mac) const
{
    check_options(driver, options);
    const bool had_mac = !rte_is_zero_ether_addr(&mac);
    port_options wanted{.rx_queues = options.rx_queues,
                        .tx_queues = std::clamp(driver.info().max_tx_queues, 1U, impl_->placement.useful_tx_queues()),
                        .descriptors = options.descriptors,
                        .mtu = options.mtu,
                        .pool = pool_};
    if (had_mac && !same(mac, driver.info().mac)) {
        wanted.mac = mac;
    }
    driver.open(wanted);
    if (!had_mac) {
        mac = driver.info().mac;
    } else if (!same(mac, driver.info().mac)) {
        driver.set_mac(mac);
    }
    if (options.promiscuous) {
        driver.set_promiscuous(true);
    }
    return wanted.tx_queues;
}

/// Attaches the queues of an open driver, disabled, and subscribes to the driver's events.
void net_core::attach_driver(net_device &dev, unsigned tx_queues)
{
    const net_device_options &options = dev.options;
    const std::string device = dev.driver->info().device;
    dev.device = device.empty() ? dev.name : device;
    dev.mtu.store(options.mtu, std::memory_order_relaxed);
    dev.tx_queues = tx_queues;
    unsigned number = 0;
    for (net_cpu *home : impl_->placement.choose(dev)) {
        auto q = make_queue(dev, number++, *home);
        const start_of_ladder start = choose_rung(*q);
        netif_napi_add(*q->cpu->sd, q->napi, net_rx_poll, start.rung, start.reason);
        dev.queues.push_back(std::move(q));
    }
    arfs_start(dev);
    for (auto &q : dev.queues) {
        rps_configure(*q, options.rps);
    }
    xdp_resize(dev);
    xdp_start(dev);
    impl_->placement.give_tx_queues(dev);
    watch_driver(dev);
}

void net_core::watch_driver(net_device &dev)
{
    dev.up = std::make_shared<int>();
    dev.driver->set_event_handler([this, &dev, up = std::weak_ptr<void>(dev.up)](port_event event) {
        post([this, &dev, up, event] {
            if (!up.expired()) {
                handle_event(dev, event);
            }
        });
    });
}

/// Opens and watches the driver and attaches the queues, disabled; no traffic yet. Throws `error`; then nothing is
/// open.
void net_core::dev_open(net_device &dev)
{
    dev.open = true;
    try {
        attach_driver(dev, open_driver(*dev.driver, dev.options, dev.mac));
    } catch (...) {
        stop_traffic(dev);
        dev_close(dev);
        throw;
    }
}

/// Announces the device and starts traffic.
void net_core::dev_start(net_device &dev)
{
    announce(dev); // listeners that keep state for the device set it up before its first packet
    start_traffic(dev);
}

void net_core::start_traffic(net_device &dev)
{
    refresh_link(dev, true);
    for (auto &q : dev.queues) {
        napi_enable(q->napi);
        q->enabled = true;
    }
}

void net_core::stop_traffic(net_device &dev) noexcept
{
    dev.running.store(false, std::memory_order_relaxed);
    for (auto &q : dev.queues) {
        if (q->enabled) {
            napi_disable(q->napi);
            q->enabled = false;
        }
    }
    rt_.synchronize_rcu(); // no data CPU is inside the driver any more
}

/// Closes the device after stop_traffic(), in an order in which no CPU keeps a pointer into it.
void net_core::dev_close(net_device &dev) noexcept
{
    if (dev.up) {
        dev.driver->set_event_handler(nullptr);
        dev.up.reset();
    }
    for (auto &q : dev.queues) {
        netif_napi_del(q->napi);
    }
    for (auto &cpu : cpus_) {
        rt_.call_on(cpu->id, [&](softnet_data &) { net_rps_flush(*cpu); });
    }
    for (auto &cpu : cpus_) { // delivers packets of the device that wait in backlogs
        rt_.call_on(cpu->id, [&](softnet_data &) { flush_backlog(*cpu); });
    }
    cpumap_drain(*this);
    const bool send = dev.failure.empty();
    for (auto &cpu : cpus_) {
        rt_.call_on(cpu->id, [&](softnet_data &) { xmit_remove(*cpu, dev, send); });
    }
    for (auto &cpu : cpus_) { // no CPU fills the rings for the device any more; the packets in them are dropped
        rt_.call_on(cpu->id, [&](softnet_data &) { handover_drain(*cpu); });
    }
    rt_.synchronize_rcu();
    arfs_stop(dev);
    dev.queues.clear();
    dev.shared_tx.clear();
    dev.driver->close();
    dev.open = false;
    dev.recovering = false;
    dev.link_look_at = KTIME_MAX;
}

void net_core::shut(net_device &dev) noexcept
{
    dev.running.store(false, std::memory_order_relaxed);
    dev.carrier.store(false, std::memory_order_relaxed);
    announce(dev);
    stop_traffic(dev);
    dev_close(dev);
}

/// Reopens a device, for settings that a driver takes only while it is stopped. Listeners see no change except the
/// link's. Throws `error`; then the device is closed.
void net_core::reopen(net_device &dev)
{
    stop_traffic(dev);
    dev_close(dev);
    dev_open(dev);
    dev_start(dev);
}

/// Reopens with a changed setting, or, if the driver does not take it, with the former one. Throws `error` in the
/// latter case.
void net_core::reopen_with(net_device &dev, const std::function<void()> &change, const std::function<void()> &undo)
{
    change();
    try {
        reopen(dev);
    } catch (const std::exception &) {
        undo();
        try {
            dev_open(dev);
            dev_start(dev);
        } catch (const std::exception &e) {
            abandon(dev, e.what());
        }
        throw;
    }
}

void net_core::set_mtu(net_device &dev, std::uint32_t mtu)
{
    const auto take = [&dev](std::uint32_t value) {
        dev.options.mtu = value;
        dev.mtu.store(value, std::memory_order_relaxed);
    };
    refuse_while_recovering(dev);
    if (!dev.open) {
        return take(mtu); // applies at its return
    }
    stop_traffic(dev); // some drivers set their queues up again
    try {
        dev.driver->set_mtu(mtu);
        take(mtu);
        start_traffic(dev);
    } catch (const std::exception &) {
        const port_info info = dev.driver->info();
        if (mtu < info.min_mtu || mtu > info.max_mtu) {
            start_traffic(dev);
            throw;
        }
        reopen_with(
            dev, [&] { dev.options.mtu = mtu; }, [&, before = dev.options.mtu] { dev.options.mtu = before; });
    }
}

void net_core::set_promiscuous(net_device &dev, bool on)
{
    refuse_while_recovering(dev);
    if (dev.open) {
        dev.driver->set_promiscuous(on);
    }
    dev.options.promiscuous = on;
}

void net_core::set_mac(net_device &dev, const rte_ether_addr &mac)
{
    refuse_while_recovering(dev);
    const rte_ether_addr before = dev.mac;
    if (!dev.open) {
        dev.mac = mac; // applies at its return
        return;
    }
    stop_traffic(dev); // receivers compare frames with the address
    dev.mac = mac;
    try {
        dev.driver->set_mac(mac);
    } catch (const std::exception &) {
        return reopen_with(
            dev, [] {}, [&] { dev.mac = before; });
    }
    start_traffic(dev);
}

void net_core::refuse_while_recovering(const net_device &dev)
{
    if (dev.recovering) {
        throw error(dev.name + ": " + dev.failure + "; try again");
    }
}

void net_core::announce(net_device &dev) noexcept
{
    if (on_change && table_.get(dev.ifindex) == &dev) {
        on_change(dev);
    }
}

} // namespace halfpoll
