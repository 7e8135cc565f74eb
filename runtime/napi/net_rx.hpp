// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/softnet_data.hpp>

namespace halfpoll
{

/// The handler of NET_RX_SOFTIRQ.
void net_rx_action(softnet_data &sd) noexcept;
/// net_rx_action() that emits an event for each poll.
void net_rx_action_traced(softnet_data &sd) noexcept;

} // namespace halfpoll
