// SPDX-License-Identifier: BSD-3-Clause
#include "control_loop.hpp"
#include "netio/buffers/defer_ring.hpp"
#include "netio/steering/backlog_internal.hpp"
#include "netio/steering/backlog_ring.hpp"
#include "netio/steering/rps_internal.hpp"
#include "netio/xdp/redirect.hpp"
#include "netio/xdp/xdp_internal.hpp"
#include "netio/xmit/handover.hpp"
#include "netio/xmit/xmit.hpp"

#include <halfpoll/flow_hash.hpp>
#include <halfpoll/softnet_data.hpp>
#include <halfpoll/xdp.hpp>

#include <algorithm>
#include <bit>
#include <cstdio>

namespace halfpoll
{
namespace
{

void free_rings(net_cpu &cpu) noexcept
{
    std::ranges::for_each(cpu.handover_in, handover_ring_free);
    cpu.handover_in.clear();
    cpu.backlog_in.clear();
    cpu.defer_in.clear();
}

void reset_stats(dev_stats &stats) noexcept
{
    for (auto *counter : {&stats.rx_packets, &stats.rx_bytes, &stats.rx_dropped, &stats.tx_packets, &stats.tx_bytes,
                          &stats.tx_dropped}) {
        counter->store(0, std::memory_order_relaxed);
    }
}

} // namespace

net_core::net_core(runtime &rt, rte_mempool *pool, unsigned foreign_threads, unsigned netdev_max_backlog)
    : rt_(rt), pool_(pool), backlog_room_(std::clamp(netdev_max_backlog, BACKLOG_ROOM, BACKLOG_MAX)),
      control_(std::make_unique<control_loop>())
{
    xdp_init();
    flow_hash_key(); // creates the key before the first packet
    rps_ = std::make_shared<rps_state>(rt.cpus());
    redirect_ = std::make_shared<redirect_state>();
    for (unsigned c = 0; c < rt.cpus(); ++c) {
        auto &cpu = cpus_.emplace_back(std::make_unique<net_cpu>());
        cpu->sd = &rt.cpu(c);
        cpu->core = this;
        cpu->id = cpu->receiver = c;
        cpu->cache = std::make_unique<napi_alloc_cache>(pool, cpu->sd);
        cpu->xmit_retry.function = xmit_retry_timer;
        cpu->xmit_retry.cpu = cpu.get();
        cpu->handover_dirty.resize(rt.cpus());
        cpu->handover_sent = std::vector<std::atomic<std::uint32_t>>(rt.cpus());
        cpu->rps = std::make_shared<rps_cpu>(rt.cpus());
        cpu->redirect = std::make_shared<redirect_cpu>();
        cpu->poll_end[POLL_END_XDP] = xdp_do_flush;
        cpu->poll_end[POLL_END_RPS] = net_rps_flush;
        cpu->active.store(rt.cpu_online(c), std::memory_order_relaxed);
        rps_->online[c] = rt.cpu_online(c);
    }
    for (unsigned producer = 0; producer < foreign_threads; ++producer) {
        foreign_mutexes_.push_back(std::make_unique<std::mutex>());
    }
    set_netdev_max_backlog(netdev_max_backlog);
    try {
        make_rings(foreign_threads);
        add_napis();
    } catch (...) {
        remove_napis();
        for (auto &cpu : cpus_) {
            free_rings(*cpu);
        }
        throw;
    }
    cpuhp_ = rt.cpuhp_setup_state({.name = "netio",
                                   .online = [this](unsigned cpu) { cpu_moves(cpu, true); },
                                   .offline = [this](unsigned cpu) { cpu_moves(cpu, false); }});
}

net_core::~net_core()
{
    trace_finish(rt_);
    on_change = nullptr; // the listener may be gone
    rt_.cpuhp_remove_state(cpuhp_);
    for (net_device *dev : devices()) {
        unregister_netdevice(*dev);
    }
    for (const auto &map : xdp_maps(*this)) {
        xdp_map_destroy(*this, *map);
    }
    remove_napis();
    for (auto &cpu : cpus_) {
        rt_.call_on(cpu->id, [&](softnet_data &sd) {
            sd.timers.cancel(cpu->xmit_retry);
            cpu->cache->drain();
        });
    }
    for (auto &cpu : cpus_) {
        free_rings(*cpu);
    }
}

/// Creates the rings from every CPU (and foreign thread) to every CPU.
void net_core::make_rings(unsigned foreign_threads)
{
    // Each packet may come from another device than the packet before it, and then takes two slots.
    const unsigned slots = std::bit_ceil(2 * (backlog_room_ + 1));
    for (auto &target : cpus_) {
        for (unsigned producer = 0; producer < cpus() + foreign_threads; ++producer) {
            target->handover_in.push_back(handover_ring_create(target->id, producer));
        }
        for (auto &producer : cpus_) {
            target->backlog_in.emplace_back(backlog_ring::create(*target, slots));
            producer->backlog_out.push_back(target->backlog_in.back().get());
            target->defer_in.emplace_back(new defer_ring);
            producer->defer_out.push_back(target->defer_in.back().get());
        }
    }
}

void net_core::add_napis()
{
    for (auto &cpu : cpus_) {
        cpu->handover.cpu = cpu->backlog.cpu = cpu.get();
        std::snprintf(cpu->handover.name, sizeof cpu->handover.name, "handover-%u", cpu->id);
        netif_napi_add(*cpu->sd, cpu->handover, handover_poll); // its producers schedule it
        napi_enable(cpu->handover);
        napi_backlog_add(*cpu->sd, cpu->backlog, process_backlog);
        rt_.call_on(cpu->id, [&](softnet_data &) {
            cpu->sd->kick_idle_backlogs = kick_idle_backlogs;
            napi_enable(cpu->backlog); // on the CPU itself, so that it does not count as received_rps
        });
    }
}

void net_core::remove_napis() noexcept
{
    for (auto &cpu : cpus_) {
        for (napi_struct *napi :
             {static_cast<napi_struct *>(&cpu->backlog), static_cast<napi_struct *>(&cpu->handover)}) {
            if (napi->sd) { // it was added
                napi_disable(*napi);
                netif_napi_del(*napi);
            }
        }
    }
}

void net_core::set_netdev_max_backlog(unsigned packets)
{
    if (packets == 0 || packets > backlog_room_) {
        throw error("netdev_max_backlog must be 1 to " + std::to_string(backlog_room_) + ", not " +
                    std::to_string(packets) + (packets == 0 ? "" : " (the rings were made for that at start)"));
    }
    netdev_max_backlog_.store(packets, std::memory_order_relaxed);
    backlog_share_.store((packets + 1) / cpus(), std::memory_order_relaxed);
}

/// Sets the timer to the next time at which a link is polled, a device is looked for or flows are processed.
void net_core::arm_timer() noexcept
{
    ktime_t next = KTIME_MAX;
    table_.for_each([&](const net_device &dev) {
        next = std::min({next, dev.link_look_at, dev.return_look_at, dev.arfs_look_at});
    });
    control_->arm(next);
}

void net_core::set_rx_handler(rx_handler receive, void *ctx) noexcept
{
    handler_ = receive;
    handler_ctx_ = ctx;
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
    dev.ifindex = table_.free_ifindex(dev.name);
    if (const std::shared_ptr<xdp_program> program = std::move(dev.options.xdp)) {
        xdp_attach(*this, dev, program);
    }
    for (auto &cpu : cpus_) {
        rt_.call_on(cpu->id, [&](softnet_data &) { reset_stats(cpu->dev[dev.ifindex]); });
    }
    dev_open(dev);
    table_.put(std::move(owned));
    redirect_register(*this, dev);
    dev_start(dev);
    return dev;
}

void net_core::unregister_netdevice(net_device &dev) noexcept
{
    redirect_unregister(*this, dev);
    if (dev.open) {
        shut(dev);
    }
    table_.remove(dev);
}

std::uint64_t net_core::drops(unsigned reason) const noexcept
{
    std::uint64_t sum = 0;
    for (const auto &cpu : cpus_) {
        sum += cpu->drops[reason].load(std::memory_order_relaxed);
    }
    return sum;
}

int net_core::control_fd() const noexcept { return control_->fd(); }

void net_core::post(std::function<void()> work) { control_->post(std::move(work)); }

void net_core::run_control()
{
    control_->run();
    const ktime_t now = ktime_get();
    look_at_links(now);
    look_for_failed(now);
    arfs_look_at_flows(table_, now);
    arm_timer();
}

} // namespace halfpoll
