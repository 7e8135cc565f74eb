// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "placement.hpp"

#include <halfpoll/net_core.hpp>

#include <vector>

namespace halfpoll
{

/// The NAPI poll function of an rx queue (napi is the first member of rx_queue), and its interrupt operations.
int net_rx_poll(napi_struct &napi, int budget) noexcept;
extern const napi_irq_ops net_rx_irq_ops;

/// Stores the choices in the table, which stays in place because other threads may be reading it. Control thread.
void route_tx(net_device &dev, const std::vector<tx_choice> &choices);

} // namespace halfpoll
