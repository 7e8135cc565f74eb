// SPDX-License-Identifier: BSD-3-Clause
#include "dev_start.hpp"

namespace halfpoll
{

void dev_starter::start(net_device &dev)
{
    notifier_.changed(dev); // listeners that keep state for the device set it up before its first packet
    start_traffic(dev);
}

void dev_starter::start_traffic(net_device &dev)
{
    links_.refresh(dev, true);
    for (auto &q : dev.queues) {
        napi_enable(q->napi);
        q->enabled = true;
    }
}

void dev_starter::reopen(net_device &dev)
{
    opener_.stop_traffic(dev);
    opener_.close(dev);
    opener_.open(dev);
    start(dev);
}

} // namespace halfpoll
