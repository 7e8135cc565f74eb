// SPDX-License-Identifier: BSD-3-Clause
#pragma once

namespace halfpoll
{

struct rcu_head;

using rcu_callback = void (*)(rcu_head &) noexcept;

/// Embedded in an object that is freed, or otherwise disposed of, a grace period after it was unlinked.
struct rcu_head {
    rcu_callback func = nullptr;
    rcu_head *next = nullptr;
};

/// Calls `func` in RCU_SOFTIRQ of the caller's CPU after every bottom-half thread has passed a quiescent state; the
/// object that `head` is embedded in may then be freed. In a section; neither blocks nor allocates. Control threads use
/// runtime::synchronize_rcu() instead. The runtime's destructor calls the callbacks that still wait.
void call_rcu(rcu_head &head, rcu_callback func) noexcept;

} // namespace halfpoll
