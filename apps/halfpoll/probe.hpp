// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "config.hpp"

#include <string>
#include <vector>

namespace halfpoll
{

/// What this process and this kernel lack for a configuration, each as one line with the remedy.
struct probe_result {
    std::vector<std::string> missing;  ///< it cannot run
    std::vector<std::string> degraded; ///< it runs with less than was asked for
};

/// Looks without changing anything: privileges, devices, kernel features, memory.
probe_result probe_machine(const config &cfg);

} // namespace halfpoll
