// SPDX-License-Identifier: BSD-3-Clause
#include "bh_work_internal.hpp"

#include <halfpoll/runtime_env.hpp>

#include "deferred_work.hpp"
#include "runtime/base/container_of.hpp"
#include "runtime/base/mpsc_list.hpp"

#include <chrono>
#include <thread>

namespace halfpoll
{

namespace
{

// bh_work::state.
constexpr std::uint32_t QUEUED = 1;
constexpr std::uint32_t RUNNING = 2;
constexpr std::chrono::microseconds FLUSH_NAP{50};

bool queue(softnet_data &sd, bh_work_list &list, softirq_vec vec, irq_work &kick, bh_work &work) noexcept
{
    if (work.state.fetch_or(QUEUED, std::memory_order_acq_rel) & QUEUED) {
        return false;
    }
    const bool was_empty = push(list.queued, work);
    if (this_softnet_data() == &sd) {
        raise_softirq_irqoff(sd, vec);
    } else if (was_empty) {
        irq_work_queue_on(kick, sd);
    }
    return true;
}

/// Moves the queued items to `ready`, oldest first. False: no item was queued. `ready` is empty before.
bool refill(bh_work_list &list) noexcept
{
    list.ready = take_all_in_order(list.queued);
    return list.ready != nullptr;
}

void run_ready(bh_work_list &list) noexcept
{
    while (bh_work *work = list.ready) {
        list.ready = work->next;
        // Replaces QUEUED by RUNNING in one step, so that a flush sees one of them. acq_rel; pairs with queue().
        work->state.fetch_add(RUNNING - QUEUED, std::memory_order_acq_rel);
        work->func(*work);
        // Pairs with bh_work_flush(). Afterwards the user may have freed the item.
        work->state.fetch_sub(RUNNING, std::memory_order_acq_rel);
    }
}

/// Moves the items of an offline CPU to its stand-in, oldest first. On the stand-in, not in a softirq.
void adopt_list(bh_work_list &from, bh_work_list &to) noexcept
{
    refill(from);
    while (bh_work *work = from.ready) {
        from.ready = work->next;
        push(to.queued, *work);
    }
}

template <softirq_vec vec, bh_work_list deferred_work::*list>
void kick(irq_work &work) noexcept
{
    softnet_data &owner = *HALFPOLL_CONTAINER_OF(work, bh_work_kick, work).owner;
    softnet_data &sd = *this_softnet_data();
    if (&owner != &sd) {
        adopt_list(owner.deferred->*list, sd.deferred->*list);
    }
    __raise_softirq_irqoff(sd, vec);
}

} // namespace

void bh_work_adopt(softnet_data &from, softnet_data &to) noexcept
{
    adopt_list(from.deferred->bh_works, to.deferred->bh_works);
    adopt_list(from.deferred->bh_highpri_works, to.deferred->bh_highpri_works);
    to.softirq_pending |= 1U << TASKLET_SOFTIRQ | 1U << HI_SOFTIRQ;
}

bool bh_work_queued(const softnet_data &sd) noexcept
{
    const auto any = [](const bh_work_list &list) { return list.ready || list.queued.load(std::memory_order_relaxed); };
    return any(sd.deferred->bh_works) || any(sd.deferred->bh_highpri_works);
}

void bh_work_run(softnet_data &sd, bh_work_list &list, softirq_vec vec) noexcept
{
    const ktime_t deadline = sd.now + MAX_SOFTIRQ_TIME;
    unsigned round = 0;
    while (refill(list)) {
        run_ready(list);
        if (++round == MAX_SOFTIRQ_RESTART || sd.env->now() >= deadline) {
            break;
        }
    }
    if (list.queued.load(std::memory_order_relaxed)) {
        __raise_softirq_irqoff(sd, vec);
    }
}

void bh_work_init(softnet_data &sd) noexcept
{
    for (bh_work_kick *each : {&sd.deferred->bh_kick, &sd.deferred->bh_highpri_kick}) {
        each->owner = &sd;
        each->work.flags.store(IRQ_WORK_HARD_IRQ, std::memory_order_relaxed);
    }
    sd.deferred->bh_kick.work.func = kick<TASKLET_SOFTIRQ, &deferred_work::bh_works>;
    sd.deferred->bh_highpri_kick.work.func = kick<HI_SOFTIRQ, &deferred_work::bh_highpri_works>;
}

bool queue_bh_work(softnet_data &sd, bh_work &work) noexcept
{
    return queue(sd, sd.deferred->bh_works, TASKLET_SOFTIRQ, sd.deferred->bh_kick.work, work);
}

bool queue_bh_highpri_work(softnet_data &sd, bh_work &work) noexcept
{
    return queue(sd, sd.deferred->bh_highpri_works, HI_SOFTIRQ, sd.deferred->bh_highpri_kick.work, work);
}

void bh_work_flush(const bh_work &work)
{
    while (work.state.load(std::memory_order_acquire) != 0) { // pairs with the fetch_sub in run_ready()
        std::this_thread::sleep_for(FLUSH_NAP);
    }
}

} // namespace halfpoll
