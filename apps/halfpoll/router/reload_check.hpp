// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "apps/halfpoll/config/config_diff.hpp"
#include "router.hpp"

#include <string>
#include <vector>

namespace halfpoll
{

/// What would make apply_config() fail, as far as it can be known with nothing touched: devices that are not there, in
/// use or have too few queues, shadows that others have. A line each, "port NAME: …". Control thread.
std::vector<std::string> obstacles(router &r, const config &wanted, const config_diff &diff);

/// Entries of redirect maps that go with a port.
std::vector<config_change> lost_entries(router &r, const config_diff &diff);

} // namespace halfpoll
