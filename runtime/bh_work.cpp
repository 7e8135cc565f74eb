// SPDX-License-Identifier: BSD-3-Clause
#include "bh_work.hpp"

#include <halfpoll/runtime.hpp>

#include <chrono>
#include <thread>

namespace halfpoll
{

namespace
{

constexpr std::uint32_t QUEUED = 1;
constexpr std::uint32_t RUNNING = 2;
constexpr std::chrono::microseconds FLUSH_NAP{50};

bool queue(softnet_data &sd, bh_work_list &list, softirq_vec vec, irq_work &kick, bh_work &work) noexcept
{
    if (work.state.fetch_or(QUEUED, std::memory_order_acq_rel) & QUEUED) {
        return false;
    }
    bh_work *first = list.queued.load(std::memory_order_relaxed);
    do {
        work.next = first;
        // release; pairs with the acquire exchange in refill().
    } while (!list.queued.compare_exchange_weak(first, &work, std::memory_order_release, std::memory_order_relaxed));
    if (this_softnet_data() == &sd) {
        raise_softirq_irqoff(sd, vec);
    } else if (!first) {
        irq_work_queue_on(kick, sd);
    }
    return true;
}

/// Takes what was queued, oldest first. False: nothing.
bool refill(bh_work_list &list) noexcept
{
    if (!list.queued.load(std::memory_order_relaxed)) {
        return false;
    }
    bh_work *work = list.queued.exchange(nullptr, std::memory_order_acquire); // pairs with the release in queue()
    while (work) {
        bh_work *next = work->next;
        work->next = list.ready;
        list.ready = work;
        work = next;
    }
    return true;
}

void run_ready(bh_work_list &list) noexcept
{
    while (bh_work *work = list.ready) {
        list.ready = work->next;
        // QUEUED goes, RUNNING comes, in one step: a flush sees one of them. acq_rel; pairs with queue().
        work->state.fetch_add(RUNNING - QUEUED, std::memory_order_acq_rel);
        work->func(*work);
        work->state.fetch_sub(RUNNING, std::memory_order_acq_rel); // pairs with bh_work_flush(); it may be gone now
    }
}

template <softirq_vec vec>
void kick(irq_work &) noexcept
{
    __raise_softirq_irqoff(*this_softnet_data(), vec);
}

} // namespace

void bh_work_run(softnet_data &sd, bh_work_list &list, softirq_vec vec) noexcept
{
    const ktime_t deadline = sd.now + MAX_SOFTIRQ_TIME;
    unsigned round = 0;
    while (refill(list)) {
        run_ready(list);
        if (++round == MAX_SOFTIRQ_RESTART || sd.rt->now() >= deadline) {
            break;
        }
    }
    if (list.queued.load(std::memory_order_relaxed)) {
        __raise_softirq_irqoff(sd, vec);
    }
}

void bh_work_init(softnet_data &sd) noexcept
{
    sd.bh_work_kick.func = kick<TASKLET_SOFTIRQ>;
    sd.bh_work_kick.flags.store(IRQ_WORK_HARD_IRQ, std::memory_order_relaxed);
    sd.bh_highpri_work_kick.func = kick<HI_SOFTIRQ>;
    sd.bh_highpri_work_kick.flags.store(IRQ_WORK_HARD_IRQ, std::memory_order_relaxed);
}

bool queue_bh_work(softnet_data &sd, bh_work &work) noexcept
{
    return queue(sd, sd.bh_works, TASKLET_SOFTIRQ, sd.bh_work_kick, work);
}

bool queue_bh_highpri_work(softnet_data &sd, bh_work &work) noexcept
{
    return queue(sd, sd.bh_highpri_works, HI_SOFTIRQ, sd.bh_highpri_work_kick, work);
}

void bh_work_flush(const bh_work &work)
{
    while (work.state.load(std::memory_order_acquire) != 0) { // pairs with the end in run_ready()
        std::this_thread::sleep_for(FLUSH_NAP);
    }
}

} // namespace halfpoll
