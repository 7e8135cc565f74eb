// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "dev_open.hpp"
#include "dev_start.hpp"

namespace halfpoll
{

/// Looks for devices that failed or vanished, and puts those that it finds into service. Control thread.
class dev_return
{
public:
    dev_return(const device_table &devices, dev_opener &opener, dev_starter &starter) noexcept
        : devices_(devices), opener_(opener), starter_(starter)
    {
    }
    /// Looks for the devices whose time has come.
    void look(ktime_t now);

private:
    void try_return(net_device &dev);

    const device_table &devices_;
    dev_opener &opener_;
    dev_starter &starter_;
};

} // namespace halfpoll
