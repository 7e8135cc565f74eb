// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "data_cpus.hpp"
#include "dev_failure.hpp"
#include "look_timer.hpp"
#include "netdev_notifier.hpp"

namespace halfpoll
{

/// The carrier of interfaces, as events report it or, if a driver sends none, as polling finds it. Control thread.
class link_watch
{
public:
    link_watch(const data_cpus &cpus, const device_table &devices, const look_timer &timer,
               const netdev_notifier &notifier, dev_failure &failure) noexcept
        : cpus_(cpus), devices_(devices), timer_(timer), notifier_(notifier), failure_(failure)
    {
    }
    /// Reads the link of an open device. `told`: an event reported a change; else the link is polled. A device whose
    /// link cannot be read fails.
    void refresh(net_device &dev, bool told);
    /// Polls the links whose time has come.
    void look(ktime_t now);

private:
    void plan_look(net_device &dev) const;
    std::uint64_t packets(const net_device &dev) const noexcept;

    const data_cpus &cpus_;
    const device_table &devices_;
    const look_timer &timer_;
    const netdev_notifier &notifier_;
    dev_failure &failure_;
};

} // namespace halfpoll
