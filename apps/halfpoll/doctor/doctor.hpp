// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "apps/halfpoll/host/host.hpp"
#include "finding.hpp"

#include <nlohmann/json.hpp>

#include <string>
#include <vector>

namespace halfpoll
{

/// Examines a machine for a configuration file, or for any configuration if `file` is empty. If the configuration has
/// mistakes, each is a finding, and the machine is examined as without a file.
std::vector<finding> examine(const std::string &file, const host &on);

/// True if at least one finding keeps halfpoll from running.
bool stops(const std::vector<finding> &findings);

/// Formats findings for people: worst first, each with its remedy on a line of its own; the last line counts them.
std::string doctor_text(const std::vector<finding> &findings);
/// Formats findings as {"stops": bool, "findings": [{"id", "severity", "port", "problem", "remedy"}]}, worst first.
nlohmann::json doctor_json(const std::vector<finding> &findings);

} // namespace halfpoll
