// SPDX-License-Identifier: BSD-3-Clause
#include "dev_change.hpp"

namespace halfpoll
{

void dev_changer::reopen_with(net_device &dev, const std::function<void()> &change, const std::function<void()> &undo)
{
    change();
    try {
        starter_.reopen(dev);
    } catch (const std::exception &) {
        undo();
        try {
            opener_.open(dev);
            starter_.start(dev);
        } catch (const std::exception &e) {
            failure_.abandon(dev, e.what());
        }
        throw;
    }
}

void dev_changer::set_mtu(net_device &dev, std::uint32_t mtu)
{
    const auto take = [&dev](std::uint32_t value) {
        dev.options.mtu = value;
        dev.mtu.store(value, std::memory_order_relaxed);
    };
    refuse_while_recovering(dev);
    if (!dev.open) {
        return take(mtu); // applies at its return
    }
    opener_.stop_traffic(dev); // some drivers set their queues up again
    try {
        dev.driver->set_mtu(mtu);
        take(mtu);
        starter_.start_traffic(dev);
    } catch (const std::exception &) {
        const port_info info = dev.driver->info();
        if (mtu < info.min_mtu || mtu > info.max_mtu) {
            starter_.start_traffic(dev);
            throw;
        }
        reopen_with(
            dev, [&] { dev.options.mtu = mtu; }, [&, before = dev.options.mtu] { dev.options.mtu = before; });
    }
}

void dev_changer::set_promiscuous(net_device &dev, bool on)
{
    refuse_while_recovering(dev);
    if (dev.open) {
        dev.driver->set_promiscuous(on || dev.unfiltered);
    }
    dev.options.promiscuous = on;
}

void dev_changer::set_unfiltered(net_device &dev, bool on)
{
    refuse_while_recovering(dev);
    if (dev.open) {
        dev.driver->set_promiscuous(on || dev.options.promiscuous);
    }
    dev.unfiltered = on;
}

void dev_changer::set_mac(net_device &dev, const rte_ether_addr &mac)
{
    refuse_while_recovering(dev);
    const rte_ether_addr before = dev.mac;
    if (!dev.open) {
        dev.mac = mac; // applies at its return
        return;
    }
    opener_.stop_traffic(dev); // receivers compare frames with the address
    dev.mac = mac;
    try {
        dev.driver->set_mac(mac);
    } catch (const std::exception &) {
        return reopen_with(
            dev, [] {}, [&] { dev.mac = before; });
    }
    starter_.start_traffic(dev);
}

void dev_changer::refuse_while_recovering(const net_device &dev)
{
    if (dev.recovering) {
        throw error(dev.name + ": " + dev.failure + "; try again");
    }
}

} // namespace halfpoll
