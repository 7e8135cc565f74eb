// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <nlohmann/json.hpp>

#include <string>

namespace halfpoll
{

/// A reply to {"show": WHAT} as people read it: aligned tables, one for each list in it, numbers to the right.
std::string render(const nlohmann::json &reply);

} // namespace halfpoll
