// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "dev_failure.hpp"
#include "dev_open.hpp"
#include "dev_start.hpp"

#include <functional>

namespace halfpoll
{

/// Changes settings of devices, and closes and opens those whose driver takes a setting only then. Control thread.
class dev_changer
{
public:
    dev_changer(dev_opener &opener, dev_starter &starter, dev_failure &failure) noexcept
        : opener_(opener), starter_(starter), failure_(failure)
    {
    }
    /// See net_core::set_mtu(), set_mac(), set_promiscuous() and set_unfiltered().
    void set_mtu(net_device &dev, std::uint32_t mtu);
    void set_mac(net_device &dev, const rte_ether_addr &mac);
    void set_promiscuous(net_device &dev, bool on);
    void set_unfiltered(net_device &dev, bool on);
    /// Reopens with a changed setting, or, if the driver does not take it, with the former one. Throws `error` in the
    /// latter case.
    void reopen_with(net_device &dev, const std::function<void()> &change, const std::function<void()> &undo);
    /// Throws `error` while the driver repairs the device.
    static void refuse_while_recovering(const net_device &dev);

private:
    dev_opener &opener_;
    dev_starter &starter_;
    dev_failure &failure_;
};

} // namespace halfpoll
