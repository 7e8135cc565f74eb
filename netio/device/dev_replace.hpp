// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "dev_change.hpp"
#include "look_timer.hpp"

#include <memory>

namespace halfpoll
{

/// Replaces the device below an interface that stays, or settings that a driver takes only when it is opened. Control
/// thread.
class dev_replacer
{
public:
    dev_replacer(dev_opener &opener, dev_starter &starter, dev_changer &changer, dev_failure &failure,
                 const look_timer &timer) noexcept
        : opener_(opener), starter_(starter), changer_(changer), failure_(failure), timer_(timer)
    {
    }
    /// See net_core::replace_netdevice().
    void replace(net_device &dev, net_device_options options, std::unique_ptr<port> driver, const rte_ether_addr &mac);

private:
    void exchange_driver(net_device &dev, net_device_options options, std::unique_ptr<port> driver, rte_ether_addr mac);

    dev_opener &opener_;
    dev_starter &starter_;
    dev_changer &changer_;
    dev_failure &failure_;
    const look_timer &timer_;
};

} // namespace halfpoll
