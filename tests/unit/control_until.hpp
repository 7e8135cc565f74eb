// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "eventually.hpp"

#include <halfpoll/net_core.hpp>

#include <poll.h>

#include <functional>

namespace halfpoll::test
{

/// Runs the control loop, as the program does, until `condition` holds.
inline bool control_until(net_core &core, const std::function<bool()> &condition)
{
    return eventually([&] {
        pollfd p{core.control_fd(), POLLIN, 0};
        if (poll(&p, 1, 0) == 1) {
            core.run_control();
        }
        return condition();
    });
}

} // namespace halfpoll::test
