// SPDX-License-Identifier: BSD-3-Clause
#include "dev_replace.hpp"
#include "netio/xdp/xdp_internal.hpp"

#include <utility>

namespace halfpoll
{

void dev_replacer::replace(net_device &dev, net_device_options options, std::unique_ptr<port> driver,
                           const rte_ether_addr &mac)
{
    dev_changer::refuse_while_recovering(dev);
    options.name = dev.name;
    if (driver) {
        return exchange_driver(dev, std::move(options), std::move(driver), mac);
    }
    if (!dev.open) {
        dev.options = std::move(options); // applies at its return
        xdp_resize(dev);
        return;
    }
    opener_.check_options(*dev.driver, options);
    const auto exchange = [&] { std::swap(dev.options, options); };
    changer_.reopen_with(dev, exchange, exchange);
}

/// The steps that are likely to fail come first, while the present device still runs.
void dev_replacer::exchange_driver(net_device &dev, net_device_options options, std::unique_ptr<port> driver,
                                   rte_ether_addr mac)
{
    unsigned tx_queues = 0;
    try {
        tx_queues = opener_.open_driver(*driver, options, dev.unfiltered, mac);
    } catch (...) {
        driver->close();
        throw;
    }
    const bool was_open = dev.open;
    if (was_open) {
        opener_.stop_traffic(dev);
        opener_.close(dev);
    }
    const auto exchange = [&] {
        std::swap(dev.options, options);
        std::swap(dev.driver, driver);
        std::swap(dev.mac, mac);
    };
    exchange();
    dev.open = true;
    try {
        opener_.attach(dev, tx_queues);
    } catch (const std::exception &) {
        opener_.stop_traffic(dev);
        opener_.close(dev);
        exchange();
        try {
            if (was_open) {
                opener_.open(dev);
                starter_.start(dev);
            }
        } catch (const std::exception &e) {
            failure_.abandon(dev, e.what());
        }
        throw;
    }
    dev.failure.clear();
    dev.return_look_at = KTIME_MAX;
    timer_.arm();
    starter_.start(dev);
}

} // namespace halfpoll
