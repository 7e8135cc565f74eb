// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <nlohmann/json.hpp>

namespace halfpoll
{

/// Returns `after`, the later of two replies to {"show": WHAT}, with its counters as events per second since `before`.
/// Rows are matched by name. A new row counts from zero, and so does a counter that has become smaller.
nlohmann::json rates(const nlohmann::json &before, nlohmann::json after, double seconds);

} // namespace halfpoll
