// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/softnet_data.hpp>

#include <functional>

namespace halfpoll
{

/// runtime::call_on(), by the CPU's state.
void call_on(softnet_data &sd, const std::function<void(softnet_data &)> &fn);

/// The CPU that does the work of `sd`: `sd` itself, or its stand-in while it is offline. Control thread.
inline softnet_data &serving(softnet_data &sd) noexcept
{
    softnet_data *by = &sd;
    while (by->adopter) {
        by = by->adopter;
    }
    return *by;
}

} // namespace halfpoll
