// SPDX-License-Identifier: BSD-3-Clause
#define RTE_USE_C11_MEM_MODEL // as in handover.cpp
#include "net_core_internal.hpp"

#include <rte_errno.h>
#include <rte_mbuf.h>
#include <rte_ring.h>

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

namespace halfpoll
{
namespace
{

constexpr unsigned HANDOVER_RING = 1024; // the power of two next to the kernel's netdev_max_backlog

rte_ring *make_ring(unsigned target, unsigned producer)
{
    static std::atomic<unsigned> serial{0}; // names are process-wide
    const std::string name = "handover" + std::to_string(serial.fetch_add(1, std::memory_order_relaxed));
    rte_ring *ring = rte_ring_create(name.c_str(), HANDOVER_RING, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
    if (!ring) {
        throw_errno(rte_errno, "no ring for packets from producer " + std::to_string(producer) + " to CPU " +
                                   std::to_string(target) + " (more EAL memory?)");
    }
    return ring;
}

void free_rings(net_cpu &cpu) noexcept
{
    for (rte_ring *ring : cpu.handover_in) {
        void *m;
        while (rte_ring_sc_dequeue(ring, &m) == 0) {
            rte_pktmbuf_free(static_cast<rte_mbuf *>(m));
        }
        rte_ring_free(ring);
    }
    cpu.handover_in.clear();
}

void reset_stats(dev_stats &stats) noexcept
{
    for (auto *counter : {&stats.rx_packets, &stats.rx_bytes, &stats.tx_packets, &stats.tx_bytes, &stats.tx_dropped}) {
        counter->store(0, std::memory_order_relaxed);
    }
}

/// The CPUs that poll the device own its tx queues first: what is forwarded back needs no hand-over then.
std::vector<tx_route> route_tx(const std::vector<unsigned> &rx_cpus, unsigned cpus, unsigned tx_queues)
{
    std::vector<unsigned> order = rx_cpus;
    for (unsigned c = 0; c < cpus; ++c) {
        order.push_back(c);
    }
    std::vector<tx_route> routes(cpus);
    std::vector<bool> seen(cpus);
    unsigned next = 0;
    std::vector<std::uint16_t> owners;
    for (unsigned c : order) {
        if (seen[c]) {
            continue;
        }
        seen[c] = true;
        if (owners.size() < tx_queues) {
            owners.push_back(static_cast<std::uint16_t>(c));
        }
        const unsigned queue = next++ % tx_queues;
        routes[c] = {static_cast<std::uint16_t>(queue), owners[queue]};
    }
    return routes;
}

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

/// Chooses how a queue may wait, and tells the instance what it needs for that.
start_of_ladder choose_rung(rx_queue &q)
{
    net_device &dev = *q.dev;
    const rx_wait wait = dev.driver->wait_of(q.queue);
    const unsigned descriptors = dev.driver->info().rx_descriptors;
    const std::uint64_t bps = dev.driver->link().speed_mbps * std::uint64_t{1'000'000};
    constexpr std::uint64_t assumed_bps = 10'000'000'000; // a virtual device that states none
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
    return {descriptors != 0 ? wait_rung::timed : wait_rung::spin, wait.reason};
}

} // namespace

net_core::net_core(runtime &rt, rte_mempool *pool, unsigned foreign_threads) : rt_(rt), pool_(pool)
{
    const unsigned n = rt.cpus();
    for (unsigned c = 0; c < n; ++c) {
        auto &cpu = cpus_.emplace_back(std::make_unique<net_cpu>());
        cpu->sd = &rt.cpu(c);
        cpu->core = this;
        cpu->id = c;
        cpu->cache = std::make_unique<napi_alloc_cache>(pool);
        cpu->xmit_retry.function = xmit_retry_timer;
        cpu->xmit_retry.cpu = cpu.get();
        cpu->handover.cpu = cpu.get();
        cpu->handover_dirty.resize(n);
    }
    try {
        for (auto &cpu : cpus_) {
            for (unsigned producer = 0; producer < n + foreign_threads; ++producer) {
                cpu->handover_in.push_back(make_ring(cpu->id, producer));
            }
        }
        control_fd_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        if (control_fd_ < 0) {
            throw_errno(errno, "no event fd for the control loop");
        }
    } catch (...) {
        for (auto &cpu : cpus_) {
            free_rings(*cpu);
        }
        throw;
    }
    for (auto &cpu : cpus_) {
        std::snprintf(cpu->handover.name, sizeof cpu->handover.name, "handover-%u", cpu->id);
        netif_napi_add(*cpu->sd, cpu->handover, handover_poll); // its producers schedule it
        napi_enable(cpu->handover);
    }
}

net_core::~net_core()
{
    on_change = nullptr; // who listened may be gone
    for (net_device *dev : devices()) {
        unregister_netdevice(*dev);
    }
    for (auto &cpu : cpus_) {
        napi_disable(cpu->handover);
        netif_napi_del(cpu->handover);
        rt_.call_on(cpu->id, [&](softnet_data &sd) {
            sd.timers.cancel(cpu->xmit_retry);
            cpu->cache->drain();
        });
    }
    for (auto &cpu : cpus_) {
        free_rings(*cpu);
    }
    close(control_fd_);
}

void net_core::set_rx_handler(rx_handler receive, void *ctx) noexcept
{
    handler_ = receive;
    handler_ctx_ = ctx;
}

net_device *net_core::dev_get_by_name(const std::string &name) noexcept
{
    auto it = std::find_if(devs_.begin(), devs_.end(), [&](const auto &dev) { return dev && dev->name == name; });
    return it == devs_.end() ? nullptr : it->get();
}

std::vector<net_device *> net_core::devices()
{
    std::vector<net_device *> all;
    for (auto &dev : devs_) {
        if (dev) {
            all.push_back(dev.get());
        }
    }
    return all;
}

/// The next free number after the last one given: one that was freed comes back as late as possible.
ifindex_t net_core::new_ifindex(const std::string &name)
{
    for (unsigned i = 1; i < MAX_IFINDEX; ++i) {
        const unsigned candidate = 1 + (last_ifindex_ - 1 + i) % (MAX_IFINDEX - 1);
        if (!devs_[candidate]) {
            return last_ifindex_ = static_cast<ifindex_t>(candidate);
        }
    }
    throw error(name + ": all " + std::to_string(MAX_IFINDEX - 1) + " interface numbers are in use");
}

void net_core::open_driver(net_device &dev)
{
    const net_device_options &options = dev.options;
    const port_info info = dev.driver->info();
    if (options.rx_queues == 0 || options.rx_queues > info.max_rx_queues) {
        throw error(dev.name + ": " + info.driver + " offers " + std::to_string(info.max_rx_queues) +
                    " rx queues, not " + std::to_string(options.rx_queues));
    }
    if (options.mtu < info.min_mtu || options.mtu > info.max_mtu) {
        throw error(dev.name + ": " + info.driver + " takes an MTU from " + std::to_string(info.min_mtu) + " to " +
                    std::to_string(info.max_mtu) + ", not " + std::to_string(options.mtu));
    }
    for (unsigned c : options.cpus) {
        if (c >= cpus()) {
            throw error(dev.name + ": CPU " + std::to_string(c) + " is not one of the " + std::to_string(cpus()) +
                        " runtime CPUs (numbered from 0)");
        }
    }
    const unsigned tx_queues = std::clamp(info.max_tx_queues, 1U, cpus());
    dev.driver->open({.rx_queues = options.rx_queues,
                      .tx_queues = tx_queues,
                      .descriptors = options.descriptors,
                      .mtu = options.mtu,
                      .pool = pool_});
    dev.mac = dev.driver->info().mac;
    dev.mtu.store(options.mtu, std::memory_order_relaxed);
    std::vector<unsigned> rx_cpus;
    for (unsigned i = 0; i < options.rx_queues; ++i) {
        rx_cpus.push_back(options.cpus.empty() ? i % cpus() : options.cpus[i % options.cpus.size()]);
    }
    dev.tx = route_tx(rx_cpus, cpus(), tx_queues);
    if (options.promiscuous) {
        dev.driver->set_promiscuous(true);
    }
    for (unsigned i = 0; i < options.rx_queues; ++i) {
        auto q = make_queue(dev, i, *cpus_[rx_cpus[i]]);
        const start_of_ladder start = choose_rung(*q);
        netif_napi_add(*q->cpu->sd, q->napi, net_rx_poll, start.rung, start.reason);
        dev.queues.push_back(std::move(q));
    }
}

void net_core::watch_driver(net_device &dev)
{
    dev.up = std::make_shared<int>();
    dev.driver->set_event_handler([this, &dev, up = std::weak_ptr<void>(dev.up)](port_event event) {
        post([this, &dev, up, event] {
            if (up.expired()) {
                return;
            }
            if (event == port_event::link) {
                refresh_link(dev);
            } else {
                fail_netdevice(dev, event == port_event::removed ? "device was removed" : "device asks for a reset");
            }
        });
    });
}

net_device &net_core::register_netdevice(std::unique_ptr<port> driver, net_device_options options)
{
    if (options.name.empty() || dev_get_by_name(options.name)) {
        throw error("interface name \"" + options.name + "\" is empty or in use already");
    }
    auto owned = std::make_unique<net_device>();
    net_device &dev = *owned;
    dev.name = options.name;
    dev.options = std::move(options);
    dev.driver = std::move(driver);
    dev.ifindex = new_ifindex(dev.name);
    try {
        open_driver(dev);
        for (auto &cpu : cpus_) {
            rt_.call_on(cpu->id, [&](softnet_data &) {
                reset_stats(cpu->dev[dev.ifindex]);
                if (dev.tx[cpu->id].owner == cpu->id) {
                    auto q = std::make_unique<xmit_queue>();
                    q->dev = &dev;
                    q->driver = dev.driver.get();
                    q->queue = dev.tx[cpu->id].queue;
                    cpu->xmit[dev.ifindex] = std::move(q);
                }
            });
        }
        watch_driver(dev);
    } catch (...) {
        shut(dev);
        throw;
    }
    devs_[dev.ifindex] = std::move(owned);
    if (on_change) {
        on_change(dev); // those who keep state for it are ready before its first packet
    }
    refresh_link(dev);
    for (auto &q : dev.queues) {
        napi_enable(q->napi);
        q->enabled = true;
    }
    return dev;
}

/// Takes a device out of service, in the order that leaves nobody with a pointer into it.
void net_core::shut(net_device &dev) noexcept
{
    dev.running.store(false, std::memory_order_relaxed);
    dev.carrier.store(false, std::memory_order_relaxed);
    const bool listed = devs_[dev.ifindex].get() == &dev;
    if (dev.up) {
        dev.driver->set_event_handler(nullptr);
        dev.up.reset();
    }
    if (listed && on_change) {
        on_change(dev);
    }
    for (auto &q : dev.queues) {
        if (q->enabled) {
            napi_disable(q->napi);
            q->enabled = false;
        }
        netif_napi_del(q->napi);
    }
    const bool send = dev.failure.empty();
    for (auto &cpu : cpus_) {
        rt_.call_on(cpu->id, [&](softnet_data &) { xmit_remove(*cpu, dev, send); });
    }
    for (auto &cpu : cpus_) { // nobody fills the rings for it any more; what they hold is dropped
        rt_.call_on(cpu->id, [&](softnet_data &) { handover_drain(*cpu); });
    }
    rt_.synchronize_rcu();
    dev.queues.clear();
    dev.driver->close();
}

void net_core::unregister_netdevice(net_device &dev) noexcept
{
    if (dev.failure.empty()) {
        shut(dev);
    }
    devs_[dev.ifindex].reset();
}

void net_core::fail_netdevice(net_device &dev, const std::string &why) noexcept
{
    if (!dev.failure.empty()) {
        return;
    }
    dev.failure = why.empty() ? "failed" : why;
    shut(dev);
}

void net_core::refresh_link(net_device &dev)
{
    bool up = false;
    try {
        up = dev.driver->link().up;
    } catch (const error &e) {
        return fail_netdevice(dev, e.what());
    }
    const bool changed = up != dev.carrier.load(std::memory_order_relaxed);
    dev.carrier.store(up, std::memory_order_relaxed);
    dev.running.store(up, std::memory_order_relaxed);
    if (changed && on_change) {
        on_change(dev);
    }
    for (auto &q : dev.queues) {
        if (up && q->enabled) {
            napi_schedule(q->napi); // a new peer does not know that the queue waits for its interrupt (vhost-user)
        }
    }
}

void net_core::set_mtu(net_device &dev, std::uint32_t mtu)
{
    if (!dev.failure.empty()) {
        throw error(dev.name + ": out of service (" + dev.failure + ")");
    }
    dev.driver->set_mtu(mtu);
    dev.mtu.store(mtu, std::memory_order_relaxed);
    if (on_change) {
        on_change(dev);
    }
}

std::uint64_t net_core::drops(unsigned reason) const noexcept
{
    std::uint64_t sum = 0;
    for (const auto &cpu : cpus_) {
        sum += cpu->drops[reason].load(std::memory_order_relaxed);
    }
    return sum;
}

void net_core::post(std::function<void()> work)
{
    {
        const std::lock_guard lock(posted_mutex_);
        posted_.push_back(std::move(work));
    }
    const std::uint64_t one = 1;
    if (write(control_fd_, &one, sizeof one) < 0 && errno != EAGAIN) {
        throw_errno(errno, "control loop cannot be woken");
    }
}

void net_core::run_control()
{
    std::uint64_t count;
    if (read(control_fd_, &count, sizeof count) < 0 && errno != EAGAIN) {
        throw_errno(errno, "control loop's event fd");
    }
    std::vector<std::function<void()>> work;
    {
        const std::lock_guard lock(posted_mutex_);
        work.swap(posted_);
    }
    for (auto &fn : work) {
        fn();
    }
}

} // namespace halfpoll
