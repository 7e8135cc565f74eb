// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "apps/halfpoll/host/host.hpp"
#include "finding.hpp"

#include <nlohmann/json.hpp>

#include <string>
#include <vector>

namespace halfpoll
{

/// Examines a machine for a configuration file; without a file ("") for any. A configuration with mistakes is a finding
/// too, and the machine is then examined as without one.
std::vector<finding> examine(const std::string &file, const host &on);

/// True if one of them keeps halfpoll from running.
bool stops(const std::vector<finding> &findings);

/// For people: worst first, each with its remedy on a line of its own, and a last line that counts them.
std::string doctor_text(const std::vector<finding> &findings);
/// {"stops": bool, "findings": [{"id", "severity", "port", "problem", "remedy"}]}; worst first.
nlohmann::json doctor_json(const std::vector<finding> &findings);

} // namespace halfpoll
