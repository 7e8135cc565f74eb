// SPDX-License-Identifier: BSD-3-Clause
//
// Replacing the device below an interface that stays, or settings that a driver takes only when it is opened.
#include "netio/xdp/xdp_internal.hpp"

#include <halfpoll/net_core.hpp>

#include <utility>

namespace halfpoll
{

void net_core::replace_netdevice(net_device &dev, net_device_options options, std::unique_ptr<port> driver,
                                 const rte_ether_addr &mac)
{
    refuse_while_recovering(dev);
    options.name = dev.name;
    if (driver) {
        return exchange_driver(dev, std::move(options), std::move(driver), mac);
    }
    if (!dev.open) {
        dev.options = std::move(options); // applies at its return
        xdp_resize(dev);
        return;
    }
    check_options(*dev.driver, options);
    const auto exchange = [&] { std::swap(dev.options, options); };
    reopen_with(dev, exchange, exchange);
}

/// The steps that are likely to fail come first, while the present device still runs.
void net_core::exchange_driver(net_device &dev, net_device_options options, std::unique_ptr<port> driver,
                               rte_ether_addr mac)
{
    unsigned tx_queues = 0;
    try {
        tx_queues = open_driver(*driver, options, mac);
    } catch (...) {
        driver->close();
        throw;
    }
    const bool was_open = dev.open;
    if (was_open) {
        stop_traffic(dev);
        dev_close(dev);
    }
    const auto exchange = [&] {
        std::swap(dev.options, options);
        std::swap(dev.driver, driver);
        std::swap(dev.mac, mac);
    };
    exchange();
    dev.open = true;
    try {
        attach_driver(dev, tx_queues);
    } catch (const std::exception &) {
        stop_traffic(dev);
        dev_close(dev);
        exchange();
        try {
            if (was_open) {
                dev_open(dev);
                dev_start(dev);
            }
        } catch (const std::exception &e) {
            abandon(dev, e.what());
        }
        throw;
    }
    dev.failure.clear();
    dev.return_look_at = KTIME_MAX;
    arm_timer();
    dev_start(dev);
}

} // namespace halfpoll
