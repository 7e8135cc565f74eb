// SPDX-License-Identifier: BSD-3-Clause
#include "net_core_impl.hpp"
#include "netio/steering/rps_internal.hpp"
#include "netio/xdp/redirect.hpp"
#include "netio/xdp/xdp_internal.hpp"
#include "netio/xmit/xmit.hpp"

#include <halfpoll/flow_hash.hpp>
#include <halfpoll/softnet_data.hpp>
#include <halfpoll/xdp.hpp>

#include <algorithm>

namespace halfpoll
{
namespace
{

void reset_stats(dev_stats &stats) noexcept
{
    for (auto *counter : {&stats.rx_packets, &stats.rx_bytes, &stats.rx_dropped, &stats.tx_packets, &stats.tx_bytes,
                          &stats.tx_dropped}) {
        counter->store(0, std::memory_order_relaxed);
    }
}

} // namespace

net_core::impl::impl(net_core &core, unsigned foreign_threads)
    : cpus(core.rt_, core.cpus_), devices(core.table_), rings(cpus, foreign_threads, core.backlog_room_),
      notifier(devices, core.on_change, core.on_reopen),
      opener(cpus, core.pool_, *core.redirect_, control, placement, passing_addresses, notifier, on_event)
{
    hotplug.emplace(cpus, devices, placement, core.foreign_mutexes_, core.elsewhere_in_flight);
}

net_core::net_core(runtime &rt, rte_mempool *pool, unsigned foreign_threads, unsigned netdev_max_backlog)
    : rt_(rt), pool_(pool), backlog_room_(std::clamp(netdev_max_backlog, BACKLOG_ROOM, BACKLOG_MAX))
{
    xdp_init();
    flow_hash_key(); // creates the key before the first packet
    rps_ = std::make_shared<rps_state>(rt.cpus());
    redirect_ = std::make_shared<redirect_state>();
    for (unsigned c = 0; c < rt.cpus(); ++c) {
        auto &cpu = cpus_.emplace_back(std::make_unique<net_cpu>());
        cpu->sd = &rt.cpu(c);
        cpu->core = this;
        cpu->id = cpu->defer.receiver = c;
        cpu->cache = std::make_unique<napi_alloc_cache>(pool, cpu->sd);
        cpu->xmit.retry.function = xmit_retry_timer;
        cpu->xmit.retry.cpu = cpu.get();
        cpu->handover.dirty.resize(rt.cpus());
        cpu->handover.sent = std::vector<std::atomic<std::uint32_t>>(rt.cpus());
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
    impl_ = std::make_unique<impl>(*this, foreign_threads);
}

net_core::~net_core()
{
    trace_finish(rt_);
    on_change = nullptr; // the listener may be gone
    impl_->hotplug.reset();
    for (net_device *dev : devices()) {
        unregister_netdevice(*dev);
    }
    for (const auto &map : xdp_maps(*this)) {
        xdp_map_destroy(*this, *map);
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
    impl_->opener.open(dev);
    table_.put(std::move(owned));
    redirect_register(*this, dev);
    impl_->starter.start(dev);
    return dev;
}

void net_core::unregister_netdevice(net_device &dev) noexcept
{
    redirect_unregister(*this, dev);
    if (dev.open) {
        impl_->opener.shut(dev);
    }
    table_.remove(dev);
}

void net_core::fail_netdevice(net_device &dev, const std::string &why) noexcept { impl_->failure.fail(dev, why); }

void net_core::replace_netdevice(net_device &dev, net_device_options options, std::unique_ptr<port> driver,
                                 const rte_ether_addr &mac)
{
    impl_->replacer.replace(dev, std::move(options), std::move(driver), mac);
}

void net_core::check_options(const port &driver, const net_device_options &options) const
{
    impl_->opener.check_options(driver, options);
}

void net_core::set_mtu(net_device &dev, std::uint32_t mtu) { impl_->changer.set_mtu(dev, mtu); }

void net_core::set_mac(net_device &dev, const rte_ether_addr &mac) { impl_->changer.set_mac(dev, mac); }

void net_core::set_promiscuous(net_device &dev, bool on) { impl_->changer.set_promiscuous(dev, on); }

void net_core::set_unfiltered(net_device &dev, bool on) { impl_->changer.set_unfiltered(dev, on); }

void net_core::set_pass(net_device &dev, const pass_to_kernel &wanted) noexcept
{
    if (dev.pass != wanted) {
        dev.pass = wanted;
        xdp_set_pass(dev);
    }
}

void net_core::set_pass_address(const box_address &address, bool passes)
{
    if (passes) {
        impl_->passing_addresses.insert(address);
    } else {
        impl_->passing_addresses.erase(address);
    }
    for (net_device *dev : devices()) {
        if (dev->open && dev->driver) {
            dev->driver->pass_address(address, passes);
        }
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

int net_core::control_fd() const noexcept { return impl_->control.fd(); }

void net_core::post(std::function<void()> work) { impl_->control.post(std::move(work)); }

void net_core::run_control()
{
    impl_->control.run();
    const ktime_t now = ktime_get();
    impl_->links.look(now);
    impl_->returns.look(now);
    arfs_look_at_flows(table_, now);
    impl_->timer.arm();
}

} // namespace halfpoll
