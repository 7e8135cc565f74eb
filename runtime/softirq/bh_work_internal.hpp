// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/softnet_data.hpp>

namespace halfpoll
{

struct bh_work_list;

/// Runs the queued items, those that queue themselves again included, until none is queued, 2 ms have passed or 10
/// rounds were made; raises `vec` for the rest. In a softirq.
void bh_work_run(softnet_data &sd, bh_work_list &list, softirq_vec vec) noexcept;

/// True if an item is queued. In a section; not in a softirq, where an item may be running.
bool bh_work_queued(const softnet_data &sd) noexcept;

/// Moves the items of `from`, a CPU whose thread is held, to `to`. On `to`, not in a softirq.
void bh_work_adopt(softnet_data &from, softnet_data &to) noexcept;

/// Before the CPU's threads start. Control thread.
void bh_work_init(softnet_data &sd) noexcept;

} // namespace halfpoll
