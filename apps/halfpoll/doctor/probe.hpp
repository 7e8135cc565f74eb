// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "apps/halfpoll/config/config.hpp"
#include "apps/halfpoll/host/host.hpp"
#include "finding.hpp"

#include <vector>

namespace halfpoll
{

/// How a machine is looked at.
struct probe_scope {
    severity mildest = severity::advice; ///< what is milder does not matter
    bool running = false; ///< a halfpoll runs with this configuration, so what it holds (memory …) is not missing
};

/// What a machine, and this process on it, lacks for a configuration. Looks without changing anything. `halfpoll run`,
/// `check` and `doctor` all ask this.
std::vector<finding> probe_machine(const config &cfg, const host &on, const probe_scope &scope = {});

/// The same without a configuration: what every one needs, and what each kind of port would; the latter never stops it.
std::vector<finding> probe_machine(const host &on);

} // namespace halfpoll
