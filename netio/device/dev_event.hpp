// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "dev_failure.hpp"
#include "dev_open.hpp"
#include "dev_start.hpp"
#include "link_watch.hpp"

namespace halfpoll
{

/// Reacts to events that drivers report. Control thread.
class dev_events
{
public:
    dev_events(dev_opener &opener, dev_starter &starter, link_watch &links, dev_failure &failure,
               const netdev_notifier &notifier) noexcept
        : opener_(opener), starter_(starter), links_(links), failure_(failure), notifier_(notifier)
    {
    }
    /// `dev` is open.
    void handle(net_device &dev, port_event event);

private:
    void reopen_for_queues(net_device &dev);
    void reset(net_device &dev);
    void suspend(net_device &dev);
    void resume(net_device &dev);

    dev_opener &opener_;
    dev_starter &starter_;
    link_watch &links_;
    dev_failure &failure_;
    const netdev_notifier &notifier_;
};

} // namespace halfpoll
