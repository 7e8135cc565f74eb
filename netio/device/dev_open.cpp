// SPDX-License-Identifier: BSD-3-Clause
//
// Taking a device into and out of service:
//
//   register -> open -> start ... stop, close -> unregister
//                 ^      (dev_start.cpp)  |      (dev_change.cpp, dev_replace.cpp: with another setting or device)
//                 +---- reopen, reset ----+----> failed (dev_failure.cpp): looked for again (dev_return.cpp)
#include "dev_open.hpp"
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

void dev_opener::check_options(const port &driver, const net_device_options &options) const
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
        if (c >= cpus_.size()) {
            throw error(options.name + ": CPU " + std::to_string(c) + " is not one of the " +
                        std::to_string(cpus_.size()) + " runtime CPUs (numbered from 0)");
        }
    }
    rps_check(options.rps, cpus_.size(), options.name);
}

unsigned dev_opener::open_driver(port &driver, const net_device_options &options, bool unfiltered,
                                 rte_ether_addr &mac) const
{
    check_options(driver, options);
    const bool had_mac = !rte_is_zero_ether_addr(&mac);
    port_options wanted{.rx_queues = options.rx_queues,
                        .tx_queues = std::clamp(driver.info().max_tx_queues, 1U, placement_.useful_tx_queues()),
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
    if (options.promiscuous || unfiltered) {
        driver.set_promiscuous(true);
    }
    return wanted.tx_queues;
}

void dev_opener::attach(net_device &dev, unsigned tx_queues)
{
    const net_device_options &options = dev.options;
    const std::string device = dev.driver->info().device;
    dev.device = device.empty() ? dev.name : device;
    dev.mtu.store(options.mtu, std::memory_order_relaxed);
    dev.tx_queues = tx_queues;
    unsigned number = 0;
    for (net_cpu *home : placement_.choose(dev)) {
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
    for (const box_address &address : passing_addresses_) {
        dev.driver->pass_address(address, true);
    }
    xdp_start(dev);
    placement_.give_tx_queues(dev);
    watch_driver(dev);
}

void dev_opener::watch_driver(net_device &dev)
{
    dev.up = std::make_shared<int>();
    dev.driver->set_event_handler([this, &dev, up = std::weak_ptr<void>(dev.up)](port_event event) {
        loop_.post([this, &dev, up, event] {
            if (!up.expired()) {
                on_event_(dev, event);
            }
        });
    });
}

void dev_opener::open(net_device &dev)
{
    dev.open = true;
    try {
        attach(dev, open_driver(*dev.driver, dev.options, dev.unfiltered, dev.mac));
    } catch (...) {
        stop_traffic(dev);
        close(dev);
        throw;
    }
}

void dev_opener::stop_traffic(net_device &dev) noexcept
{
    dev.running.store(false, std::memory_order_relaxed);
    for (auto &q : dev.queues) {
        if (q->enabled) {
            napi_disable(q->napi);
            q->enabled = false;
        }
    }
    cpus_.rt().synchronize_rcu(); // no data CPU is inside the driver any more
}

/// The order of the steps leaves no CPU with a pointer into the device.
void dev_opener::close(net_device &dev) noexcept
{
    if (dev.up) {
        dev.driver->set_event_handler(nullptr);
        dev.up.reset();
    }
    for (auto &q : dev.queues) {
        netif_napi_del(q->napi);
    }
    cpus_.call_on_each(net_rps_flush);
    cpus_.call_on_each(flush_backlog); // delivers packets of the device that wait in backlogs
    cpumap_drain(cpus_.rt(), redirect_);
    const bool send = dev.failure.empty();
    cpus_.call_on_each([&](net_cpu &cpu) { xmit_remove(cpu, dev, send); });
    cpus_.call_on_each(handover_drain); // no CPU fills the rings for the device now; the packets in them are dropped
    cpus_.rt().synchronize_rcu();
    arfs_stop(dev);
    dev.queues.clear();
    dev.shared_tx.clear();
    dev.driver->close();
    dev.open = false;
    dev.passing = false;
    dev.recovering = false;
    dev.link_look_at = KTIME_MAX;
}

void dev_opener::shut(net_device &dev) noexcept
{
    dev.running.store(false, std::memory_order_relaxed);
    dev.carrier.store(false, std::memory_order_relaxed);
    notifier_.changed(dev);
    stop_traffic(dev);
    close(dev);
}

} // namespace halfpoll
