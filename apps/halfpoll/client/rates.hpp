// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <nlohmann/json.hpp>

namespace halfpoll
{

/// The later of two replies to {"show": WHAT}, with its counters as events per second since the earlier one. Rows
/// belong together if they have the same name; one that was not there before, or whose counters began anew, counts from
/// zero.
nlohmann::json rates(const nlohmann::json &before, nlohmann::json after, double seconds);

} // namespace halfpoll
