// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "mirror_stats.hpp"

#include <string>

namespace halfpoll
{

class net_core;

/// Counters of the mirror, and its warnings, which go to the runtime's `warn`.
class mirror_report
{
public:
    explicit mirror_report(net_core &core) : core_(core) {}
    void warn(const std::string &what) const;
    /// Warns and counts an error.
    void complain(const std::string &what);

    mirror_stats stats;

private:
    net_core &core_;
};

} // namespace halfpoll
