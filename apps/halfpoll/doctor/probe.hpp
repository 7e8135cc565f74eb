// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "apps/halfpoll/config/config.hpp"
#include "apps/halfpoll/host/host.hpp"
#include "finding.hpp"

#include <vector>

namespace halfpoll
{

/// Selects the findings that matter.
struct probe_scope {
    severity mildest = severity::advice; ///< milder findings are omitted
    bool running = false; ///< a halfpoll with this configuration runs already, so resources that it holds (memory …)
                          ///< are not missing
};

/// Returns everything that the machine, and this process on it, lacks for a configuration. Changes nothing. `halfpoll
/// run`, `check` and `doctor` all use it.
std::vector<finding> probe_machine(const config &cfg, const host &on, const probe_scope &scope = {});

/// Examines the machine without a configuration: the needs of every configuration, and the needs of each kind of port,
/// which are never severity::stops.
std::vector<finding> probe_machine(const host &on);

} // namespace halfpoll
