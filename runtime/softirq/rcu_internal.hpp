// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/softnet_data.hpp>

struct rte_rcu_qsbr;

namespace halfpoll
{

/// runtime::synchronize_rcu().
void synchronize_rcu(rte_rcu_qsbr &readers);
/// The handler of RCU_SOFTIRQ: calls the callbacks whose grace period has ended, and starts the next one.
void rcu_action(softnet_data &sd) noexcept;
/// Moves the callbacks of `from`, a CPU whose thread is held, to `to`, where they wait for a further grace period. On
/// `to`, not in a softirq.
void rcu_adopt(softnet_data &from, softnet_data &to) noexcept;
/// Calls all callbacks that still wait, in order. Control thread, when all threads of the runtime have ended.
void rcu_barrier_at_end(softnet_data &sd) noexcept;
/// Before the CPU's threads start. Control thread.
void rcu_init(softnet_data &sd) noexcept;

} // namespace halfpoll
