// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/hrtimer.hpp>

#include <cstdint>

namespace halfpoll
{

struct softnet_data;
struct rcu_head;

using rcu_callback = void (*)(rcu_head &) noexcept;

/// Embedded in an object that is freed, or otherwise disposed of, a grace period after it was unlinked.
struct rcu_head {
    rcu_callback func = nullptr;
    rcu_head *next = nullptr;
};

/// A FIFO of callbacks. In a section.
struct rcu_list {
    rcu_head *head = nullptr;
    rcu_head *tail = nullptr;
};

/// The RCU callbacks of one CPU: one batch waits for its grace period while the next one gathers. In a section.
struct rcu_cpu {
    rcu_list gathering;
    rcu_list waiting;
    std::uint64_t token = 0; ///< grace period of `waiting` (rte_rcu_qsbr_start())
    hrtimer tick;            ///< raises RCU_SOFTIRQ, which checks whether the grace period has ended
};

/// The interval in ns at which a CPU with callbacks checks whether their grace period has ended.
inline constexpr std::int64_t RCU_TICK = NSEC_PER_MSEC;

/// Calls `func` in RCU_SOFTIRQ of the caller's CPU after every bottom-half thread has passed a quiescent state; the
/// object that `head` is embedded in may then be freed. In a section; neither blocks nor allocates. Control threads use
/// runtime::synchronize_rcu() instead. The runtime's destructor calls the callbacks that still wait.
void call_rcu(rcu_head &head, rcu_callback func) noexcept;

} // namespace halfpoll
