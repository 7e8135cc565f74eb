// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/softnet_data.hpp>

namespace halfpoll
{

/// The handler of RCU_SOFTIRQ: calls what has waited for a grace period, and starts the next one.
void rcu_action(softnet_data &sd) noexcept;
/// Takes the callbacks of a CPU that stands still; they wait for another grace period. On `to`, not in a softirq.
void rcu_adopt(softnet_data &from, softnet_data &to) noexcept;
/// Calls everything that still waits, in order. Control thread, when the CPU's threads have ended.
void rcu_barrier_at_end(softnet_data &sd) noexcept;
/// Before the CPU's threads start. Control thread.
void rcu_init(softnet_data &sd) noexcept;

} // namespace halfpoll
