// SPDX-License-Identifier: BSD-3-Clause
#include "tasklet.hpp"

#include "bh_work.hpp"
#include "race_point.hpp"

#include <chrono>
#include <thread>

namespace halfpoll
{

namespace
{

constexpr std::chrono::microseconds TASKLET_NAP{50};

/// In a section.
void append(softnet_data &sd, tasklet_head &list, tasklet_struct &t, softirq_vec vec) noexcept
{
    t.next = nullptr;
    (list.tail ? list.tail->next : list.head) = &t;
    list.tail = &t;
    __raise_softirq_irqoff(sd, vec);
}

void append_normal(softnet_data &sd, tasklet_struct &t) noexcept { append(sd, sd.tasklet_vec, t, TASKLET_SOFTIRQ); }

void append_hi(softnet_data &sd, tasklet_struct &t) noexcept { append(sd, sd.tasklet_hi_vec, t, HI_SOFTIRQ); }

template <void (*append_to)(softnet_data &, tasklet_struct &) noexcept>
void schedule(softnet_data &sd, tasklet_struct &t) noexcept
{
    if (t.state.fetch_or(TASKLET_STATE_SCHED, std::memory_order_acq_rel) & TASKLET_STATE_SCHED) {
        return; // pairs with the clearing in run(): what the caller did before is seen by the callback
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

/// False: it runs elsewhere, or is disabled.
bool run(tasklet_struct &t) noexcept
{
    if (t.state.fetch_or(TASKLET_STATE_RUN, std::memory_order_seq_cst) & TASKLET_STATE_RUN) {
        return false;
    }
    HALFPOLL_RACE_POINT(tasklet_running, &t);
    const bool enabled = t.count.load(std::memory_order_seq_cst) == 0; // RUN is set: pairs with tasklet_disable()
    if (enabled) {
        t.state.fetch_and(~TASKLET_STATE_SCHED, std::memory_order_acq_rel); // before: a schedule from now on counts
        HALFPOLL_RACE_POINT(tasklet_started, &t);
        t.func(t);
    }
    // release; pairs with who waits for RUN, and with the next run. The tasklet may be gone afterwards.
    t.state.fetch_and(~TASKLET_STATE_RUN, std::memory_order_acq_rel);
    return enabled;
}

template <void (*append_to)(softnet_data &, tasklet_struct &) noexcept>
void action(softnet_data &sd, tasklet_head &list) noexcept
{
    tasklet_struct *t = list.head;
    list = {};
    while (t) {
        tasklet_struct *next = t->next; // it may be scheduled again, or freed, as it runs
        if (!run(*t)) {
            append_to(sd, *t); // still SCHED: ours to queue
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

void tasklet_schedule(softnet_data &sd, tasklet_struct &t) noexcept { schedule<append_normal>(sd, t); }

void tasklet_hi_schedule(softnet_data &sd, tasklet_struct &t) noexcept { schedule<append_hi>(sd, t); }

void tasklet_action(softnet_data &sd) noexcept
{
    bh_work_run(sd, sd.bh_works, TASKLET_SOFTIRQ);
    action<append_normal>(sd, sd.tasklet_vec);
}

void tasklet_hi_action(softnet_data &sd) noexcept
{
    bh_work_run(sd, sd.bh_highpri_works, HI_SOFTIRQ);
    action<append_hi>(sd, sd.tasklet_hi_vec);
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
    splice(from.tasklet_vec, to.tasklet_vec);
    splice(from.tasklet_hi_vec, to.tasklet_hi_vec);
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
    wait_for(t, TASKLET_STATE_RUN); // SCHED is ours: its callback cannot schedule it
    t.state.fetch_and(~TASKLET_STATE_SCHED, std::memory_order_acq_rel);
}

} // namespace halfpoll
