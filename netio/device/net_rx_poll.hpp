// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/net_core.hpp>

namespace halfpoll
{

/// The NAPI poll function of an rx queue (napi is the first member of rx_queue), and its interrupt operations.
int net_rx_poll(napi_struct &napi, int budget) noexcept;
extern const napi_irq_ops net_rx_irq_ops;

} // namespace halfpoll
