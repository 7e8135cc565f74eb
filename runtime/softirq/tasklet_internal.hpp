// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/softnet_data.hpp>

namespace halfpoll
{

/// Before the CPU's threads start. Control thread.
void tasklet_init(softnet_data &sd) noexcept;

/// The handlers of TASKLET_SOFTIRQ and HI_SOFTIRQ: the BH work items of the class, then one snapshot of its tasklets.
void tasklet_action(softnet_data &sd) noexcept;
void tasklet_hi_action(softnet_data &sd) noexcept;

/// Moves the tasklets of `from`, a CPU whose thread is held, to `to`. On `to`, not in a softirq.
void tasklet_adopt(softnet_data &from, softnet_data &to) noexcept;

} // namespace halfpoll
