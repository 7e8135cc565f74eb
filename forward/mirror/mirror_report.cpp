// SPDX-License-Identifier: BSD-3-Clause
#include "mirror_report.hpp"

#include <halfpoll/net_core.hpp>

namespace halfpoll
{

void mirror_report::warn(const std::string &what) const
{
    if (const auto &tell = core_.rt().options().warn) {
        tell("mirror: " + what);
    }
}

void mirror_report::complain(const std::string &what)
{
    ++stats.errors;
    warn(what);
}

} // namespace halfpoll
