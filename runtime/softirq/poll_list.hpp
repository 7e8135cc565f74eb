// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/softnet_data.hpp>

namespace halfpoll
{

/// Puts an instance that is owned and on no list on the poll list. In a section of its home CPU.
inline void napi_enqueue(softnet_data &sd, napi_struct &napi) noexcept
{
    local_lock bh(sd);
    assert(!napi.listed);
    bh->poll_list.push_back(napi);
    if (!bh->in_net_rx_action) {
        __raise_softirq_irqoff(*bh, NET_RX_SOFTIRQ);
    }
}

} // namespace halfpoll
