// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/bh_work.hpp>
#include <halfpoll/call_single.hpp>
#include <halfpoll/hrtimer.hpp>
#include <halfpoll/irq_work.hpp>
#include <halfpoll/rcu.hpp>
#include <halfpoll/tasklet.hpp>

#include <atomic>
#include <cstdint>

namespace halfpoll
{

class smpboot_thread;

/// The irq_work of one CPU. Any thread pushes on the two lists (mpsc_list.hpp).
struct irq_work_cpu {
    std::atomic<irq_work *> raised{nullptr}; ///< items for the CPU's own thread, which is interrupted for them
    std::atomic<irq_work *> lazy{nullptr};   ///< LAZY items; with `irq_work/N`, all that are not HARD_IRQ
    std::atomic<bool> interrupting{false};   ///< `call` is under way
    call_single_data call;                   ///< the interrupt: has the CPU's own thread run the lists
    irq_work wake;                           ///< HARD_IRQ item that wakes `irq_work/N`
    hrtimer tick;                            ///< runs LAZY items. In a section
    smpboot_thread *thread = nullptr;        ///< `irq_work/N`, or null. Constant once started
};

/// The tasklets of one CPU and class, oldest first. In a section.
struct tasklet_head {
    tasklet_struct *head = nullptr;
    tasklet_struct *tail = nullptr;
};

/// The BH work items of one CPU and context. The context runs them oldest first.
struct bh_work_list {
    std::atomic<bh_work *> queued{nullptr}; ///< any thread pushes (mpsc_list.hpp)
    bh_work *ready = nullptr;               ///< items that the context has taken, oldest first. In a section
};

/// Raises a vector for BH work items that were queued from outside the CPU.
struct bh_work_kick {
    irq_work work;
    softnet_data *owner = nullptr; ///< the CPU whose items they are
};

/// A FIFO of RCU callbacks. In a section.
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

/// What one CPU has been asked to run later, apart from packets. The packet path does not use it.
struct deferred_work {
    irq_work_cpu irq_works;
    tasklet_head tasklet_vec;
    tasklet_head tasklet_hi_vec;
    hrtimer tasklet_retry; ///< mode `nested`: retries tasklets that run elsewhere or are disabled
    bh_work_list bh_works;
    bh_work_list bh_highpri_works;
    bh_work_kick bh_kick;         ///< raises TASKLET
    bh_work_kick bh_highpri_kick; ///< raises HI
    rcu_cpu rcu;
};

} // namespace halfpoll
