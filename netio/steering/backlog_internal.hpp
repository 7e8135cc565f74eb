// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/backlog.hpp>

namespace halfpoll
{

/// The NAPI poll function of a CPU's backlog.
int process_backlog(napi_struct &napi, int quota) noexcept;
/// Schedules the backlog of each target that got packets in this turn and has gone idle
/// (softnet_data::kick_idle_backlogs).
void kick_idle_backlogs(softnet_data &sd) noexcept;

} // namespace halfpoll
