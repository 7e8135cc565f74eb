// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/local_lock.hpp>
#include <halfpoll/net_core.hpp>

#include <rte_branch_prediction.h>

namespace halfpoll
{

/// Delivers packets to the receive handler; drops them if there is none. Takes ownership. Home CPU of `cpu`, in a
/// softirq.
inline void net_deliver(net_cpu &cpu, net_device &in, rte_mbuf **pkts, unsigned n) noexcept
{
    HALFPOLL_LOCK_CHECK(expect_none("delivery"));
    if (const rx_handler handler = cpu.core->handler(); likely(handler != nullptr)) {
        handler(cpu.core->handler_ctx(), cpu, in, pkts, n);
    } else {
        drop_packets(cpu, DROP_NO_HANDLER, pkts, n);
    }
}

} // namespace halfpoll
