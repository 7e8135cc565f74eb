// SPDX-License-Identifier: BSD-3-Clause
#include "irq_work_internal.hpp"

#include <halfpoll/runtime_env.hpp>

#include "deferred_work.hpp"
#include "runtime/base/mpsc_list.hpp"
#include "runtime/base/race_point.hpp"

#include <chrono>
#include <thread>

namespace halfpoll
{

namespace
{

constexpr std::chrono::microseconds SYNC_NAP{50};

/// True if the caller is to queue the item. False: it is queued already, and its callback sees the caller's writes,
/// because this read-modify-write comes before the one that clears PENDING (acq_rel; pairs with run_one()).
bool claim(irq_work &work) noexcept
{
    return !(work.flags.fetch_or(IRQ_WORK_PENDING | IRQ_WORK_BUSY, std::memory_order_acq_rel) & IRQ_WORK_PENDING);
}

void run_one(irq_work &work) noexcept
{
    // From here on the item may be claimed again, by its own callback too. acq_rel; pairs with claim().
    std::uint32_t flags = work.flags.fetch_and(~IRQ_WORK_PENDING, std::memory_order_acq_rel) & ~IRQ_WORK_PENDING;
    HALFPOLL_RACE_POINT(irq_work_started, &work);
    work.func(work);
    HALFPOLL_RACE_POINT(irq_work_ended, &work);
    // Fails if the item was claimed again; then it stays BUSY. release; pairs with the acquires in irq_work_is_busy()
    // and claim(). Afterwards the user may have freed the item.
    work.flags.compare_exchange_strong(flags, flags & ~IRQ_WORK_BUSY, std::memory_order_release,
                                       std::memory_order_relaxed);
}

/// Runs the items of a list, newest first.
void run_list(std::atomic<irq_work *> &list) noexcept
{
    irq_work *work = take_all(list);
    while (work) {
        irq_work *next = work->next; // read before the callback, which may queue the item again
        run_one(*work);
        work = next;
    }
}

/// The self- or cross-interrupt: asks the CPU's own thread to run the raised list.
void interrupt(softnet_data &sd) noexcept
{
    irq_work_cpu &works = sd.deferred->irq_works;
    // At most one call is under way at a time. acq_rel; pairs with the exchange in interrupted().
    if (!works.interrupting.exchange(true, std::memory_order_acq_rel)) {
        call_on_async(sd, works.call);
    }
}

void run_in_hardirq(softnet_data &sd, std::atomic<irq_work *> &list) noexcept
{
    sd.hardirq = true;
    run_list(list);
    sd.hardirq = false;
}

/// Moves the lazy list of an offline CPU, whose `irq_work/N` is parked, to that of its stand-in.
void adopt_lazy(softnet_data &owner, softnet_data &sd) noexcept
{
    irq_work *work = take_all(owner.deferred->irq_works.lazy);
    while (work) {
        irq_work *next = work->next;
        push(sd.deferred->irq_works.lazy, *work);
        work = next;
    }
}

/// Runs the lazy list of `owner` on `sd`, or wakes `irq_work/N` to run it. `sd` is `owner` or its stand-in.
void run_lazy(softnet_data &sd, softnet_data &owner) noexcept
{
    irq_work_cpu &works = sd.deferred->irq_works;
    if (!works.thread) {
        return run_in_hardirq(sd, owner.deferred->irq_works.lazy);
    }
    if (&owner != &sd) {
        adopt_lazy(owner, sd);
    }
    if (works.lazy.load(std::memory_order_relaxed)) {
        works.thread->wake();
    }
}

/// The call that interrupt() issues: runs the lists of the CPU `arg`. On that CPU or its stand-in.
void interrupted(softnet_data &sd, void *arg) noexcept
{
    softnet_data &owner = *static_cast<softnet_data *>(arg);
    irq_work_cpu &works = owner.deferred->irq_works;
    // Before the lists are taken: an item that comes later issues a call of its own. Pairs with interrupt().
    works.interrupting.exchange(false, std::memory_order_acq_rel);
    run_in_hardirq(sd, works.raised);
    run_lazy(sd, owner);
}

void tick(hrtimer &) noexcept
{
    softnet_data &sd = *this_softnet_data();
    run_lazy(sd, sd);
}

void enqueue_raised(softnet_data &sd, irq_work &work) noexcept
{
    if (push(sd.deferred->irq_works.raised, work)) {
        interrupt(sd);
    }
}

/// Puts the item on the lazy list, and has the CPU's HARD_IRQ item `wake` wake `irq_work/N`. It does so each time, not
/// only if the list was empty, because a LAZY item that is on the list already has woken no thread. If the wake-up is
/// under way already, nothing else needs to be queued.
void enqueue_threaded(softnet_data &sd, irq_work &work) noexcept
{
    push(sd.deferred->irq_works.lazy, work);
    HALFPOLL_RACE_POINT(irq_work_listed, &work);
    if (claim(sd.deferred->irq_works.wake)) {
        enqueue_raised(sd, sd.deferred->irq_works.wake);
    }
}

void enqueue(softnet_data &sd, irq_work &work) noexcept
{
    if (sd.deferred->irq_works.thread && !(work.flags.load(std::memory_order_relaxed) & IRQ_WORK_HARD_IRQ)) {
        enqueue_threaded(sd, work);
    } else {
        enqueue_raised(sd, work);
    }
}

} // namespace

void irq_work_init(softnet_data &sd) noexcept
{
    irq_work_cpu &works = sd.deferred->irq_works;
    works.call.func = interrupted;
    works.call.arg = &sd;
    works.tick.function = tick;
    works.wake.func = [](irq_work &) noexcept {}; // interrupted() goes on to run_lazy()
    works.wake.flags.store(IRQ_WORK_HARD_IRQ, std::memory_order_relaxed);
}

void irq_work_adopt(softnet_data &from, softnet_data &to) noexcept
{
    irq_work_cpu &works = from.deferred->irq_works;
    from.timers.cancel(works.tick);
    run_in_hardirq(to, works.raised); // if a call for these items is under way, it will find the list empty
    run_lazy(to, from);
}

void run_irq_workd(softnet_data &sd, const smpboot_thread &) noexcept { run_list(sd.deferred->irq_works.lazy); }

bool irq_work_queue(irq_work &work) noexcept
{
    softnet_data &sd = *this_softnet_data();
    irq_work_cpu &works = sd.deferred->irq_works;
    if (!claim(work)) {
        return false;
    }
    if (!(work.flags.load(std::memory_order_relaxed) & IRQ_WORK_LAZY)) {
        enqueue(sd, work);
    } else if (push(works.lazy, work) && !works.tick.active()) {
        sd.timers.start(works.tick, sd.env->now() + IRQ_WORK_TICK);
    }
    return true;
}

bool irq_work_queue_on(irq_work &work, softnet_data &sd) noexcept
{
    if (this_softnet_data() == &sd) {
        return irq_work_queue(work);
    }
    if (!claim(work)) {
        return false;
    }
    enqueue(sd, work);
    return true;
}

void irq_work_sync(const irq_work &work)
{
    while (irq_work_is_busy(work)) {
        std::this_thread::sleep_for(SYNC_NAP);
    }
}

} // namespace halfpoll
