// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "apps/halfpoll/config/config_diff.hpp"
#include "router.hpp"

#include <string>
#include <vector>

namespace halfpoll
{

/// Returns the reasons for which apply_config() would fail, as far as they can be found without changing anything:
/// devices that are missing, in use or have too few queues; shadows that belong to others. One line each, "port NAME:
/// …". Control thread.
std::vector<std::string> obstacles(router &r, const config &wanted, const config_diff &diff);

/// Returns the entries of redirect maps that disappear with the removed ports.
std::vector<config_change> lost_entries(router &r, const config_diff &diff);

} // namespace halfpoll
