// SPDX-License-Identifier: BSD-3-Clause
#include "tasklet_internal.hpp"

#include <halfpoll/runtime_env.hpp>

#include "bh_work_internal.hpp"
#include "deferred_work.hpp"
#include "runtime/base/race_point.hpp"

#include <chrono>
#include <thread>

namespace halfpoll
{

namespace
{

constexpr std::chrono::microseconds TASKLET_NAP{50};
constexpr ktime_t TASKLET_RETRY = 50 * NSEC_PER_USEC;

void link(tasklet_head &list, tasklet_struct &t) noexcept
{
    t.next = nullptr;
    (list.tail ? list.tail->next : list.head) = &t;
    list.tail = &t;
}

// Queue a tasklet and raise its vector. In a section.
void append_normal(softnet_data &sd, tasklet_struct &t) noexcept
{
    link(sd.deferred->tasklet_vec, t);
    __raise_softirq_irqoff(sd, TASKLET_SOFTIRQ);
}

void append_hi(softnet_data &sd, tasklet_struct &t) noexcept
{
    link(sd.deferred->tasklet_hi_vec, t);
    __raise_softirq_irqoff(sd, HI_SOFTIRQ);
}

/// Queues again a tasklet that runs elsewhere or is disabled. In mode `nested` the thread that runs it, or is about to
/// enable it, may be a less urgent one on this logical CPU, which runs only while the calling thread sleeps; therefore
/// a timer retries.
void try_again(softnet_data &sd, tasklet_head &list, tasklet_struct &t, softirq_vec vec) noexcept
{
    link(list, t);
    if (sd.env->options().exclusion != exclusion_mode::nested) {
        __raise_softirq_irqoff(sd, vec);
    } else if (!sd.deferred->tasklet_retry.active()) {
        sd.timers.start(sd.deferred->tasklet_retry, sd.env->now() + TASKLET_RETRY);
    }
}

template <void (*append_to)(softnet_data &, tasklet_struct &) noexcept>
void schedule(softnet_data &sd, tasklet_struct &t) noexcept
{
    if (t.state.fetch_or(TASKLET_STATE_SCHED, std::memory_order_acq_rel) & TASKLET_STATE_SCHED) {
        return; // pairs with the clearing in run(): the callback sees what the caller wrote before
    }
    if (this_softnet_data() == &sd) {
        append_to(sd, t);
        return;
    }
    t.call.func = [](softnet_data &target, void *arg) noexcept {
        append_to(target, *static_cast<tasklet_struct *>(arg));
    };
    t.call.arg = &t;
    call_on_async(sd, t.call);
}

/// Runs a tasklet. False: it runs elsewhere, or is disabled.
bool run(tasklet_struct &t) noexcept
{
    if (t.state.fetch_or(TASKLET_STATE_RUN, std::memory_order_seq_cst) & TASKLET_STATE_RUN) {
        return false;
    }
    HALFPOLL_RACE_POINT(tasklet_running, &t);
    const bool enabled = t.count.load(std::memory_order_seq_cst) == 0; // RUN is set: pairs with tasklet_disable()
    if (enabled) {
        // Before the callback: a schedule from here on leads to a new run.
        t.state.fetch_and(~TASKLET_STATE_SCHED, std::memory_order_acq_rel);
        HALFPOLL_RACE_POINT(tasklet_started, &t);
        t.func(t);
    }
    // Pairs with wait_for(), and with the next run. Afterwards the user may have freed the tasklet.
    t.state.fetch_and(~TASKLET_STATE_RUN, std::memory_order_acq_rel);
    return enabled;
}

void action(softnet_data &sd, tasklet_head &list, softirq_vec vec) noexcept
{
    tasklet_struct *t = list.head;
    list = {};
    while (t) {
        tasklet_struct *next = t->next; // read before the run, in which it may be scheduled again or freed
        if (!run(*t)) {
            try_again(sd, list, *t, vec); // it is still SCHED, so that no other thread queues it
        }
        t = next;
    }
}

void wait_for(const tasklet_struct &t, std::uint32_t bit)
{
    while (t.state.load(std::memory_order_seq_cst) & bit) { // pairs with the clearing in run()
        std::this_thread::sleep_for(TASKLET_NAP);
    }
}

} // namespace

void tasklet_init(softnet_data &sd) noexcept
{
    sd.deferred->tasklet_retry.function = [](hrtimer &) noexcept {
        softnet_data &here = *this_softnet_data(); // the CPU, or its stand-in, which has its lists as well
        here.softirq_pending |= 1U << TASKLET_SOFTIRQ | 1U << HI_SOFTIRQ;
    };
}

void tasklet_schedule(softnet_data &sd, tasklet_struct &t) noexcept { schedule<append_normal>(sd, t); }

void tasklet_hi_schedule(softnet_data &sd, tasklet_struct &t) noexcept { schedule<append_hi>(sd, t); }

void tasklet_action(softnet_data &sd) noexcept
{
    bh_work_run(sd, sd.deferred->bh_works, TASKLET_SOFTIRQ);
    action(sd, sd.deferred->tasklet_vec, TASKLET_SOFTIRQ);
}

void tasklet_hi_action(softnet_data &sd) noexcept
{
    bh_work_run(sd, sd.deferred->bh_highpri_works, HI_SOFTIRQ);
    action(sd, sd.deferred->tasklet_hi_vec, HI_SOFTIRQ);
}

void tasklet_adopt(softnet_data &from, softnet_data &to) noexcept
{
    const auto splice = [](tasklet_head &list, tasklet_head &onto) {
        if (list.head) {
            (onto.tail ? onto.tail->next : onto.head) = list.head;
            onto.tail = list.tail;
            list = {};
        }
    };
    splice(from.deferred->tasklet_vec, to.deferred->tasklet_vec);
    splice(from.deferred->tasklet_hi_vec, to.deferred->tasklet_hi_vec);
    to.softirq_pending |= 1U << TASKLET_SOFTIRQ | 1U << HI_SOFTIRQ;
}

void tasklet_disable_nosync(tasklet_struct &t) noexcept { t.count.fetch_add(1, std::memory_order_seq_cst); }

void tasklet_disable(tasklet_struct &t)
{
    tasklet_disable_nosync(t);
    wait_for(t, TASKLET_STATE_RUN);
}

void tasklet_enable(tasklet_struct &t) noexcept { t.count.fetch_sub(1, std::memory_order_seq_cst); }

void tasklet_kill(tasklet_struct &t)
{
    while (t.state.fetch_or(TASKLET_STATE_SCHED, std::memory_order_acq_rel) & TASKLET_STATE_SCHED) {
        wait_for(t, TASKLET_STATE_SCHED);
    }
    wait_for(t, TASKLET_STATE_RUN); // this function has set SCHED, so that the callback cannot schedule the tasklet
    t.state.fetch_and(~TASKLET_STATE_SCHED, std::memory_order_acq_rel);
}

} // namespace halfpoll
