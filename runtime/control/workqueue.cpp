// SPDX-License-Identifier: BSD-3-Clause
#include <halfpoll/runtime.hpp>
#include <halfpoll/start_thread.hpp>
#include <halfpoll/workqueue.hpp>

#include "runtime/base/mpsc_list.hpp"
#include "runtime/base/race_point.hpp"

#include <tbb/global_control.h>
#include <tbb/task_arena.h>
#include <tbb/task_scheduler_observer.h>

#include <algorithm>
#include <chrono>
#include <pthread.h>
#include <sched.h>
#include <thread>

namespace halfpoll
{

namespace
{

// Bits of work_struct::state.
constexpr std::uint32_t PENDING = 1U << 0; ///< queued, not started
constexpr std::uint32_t RUNNING = 1U << 1; ///< its callback is running
constexpr std::uint32_t AGAIN = 1U << 2;   ///< its turn came while it ran: the thread that runs it runs it once more
constexpr std::uint32_t CANCEL = 1U << 3;  ///< cancel_work_sync() is under way: it is neither started nor queued
constexpr std::uint32_t DONE = 1U << 4;    ///< the bits from here up count runs that have ended or were cancelled
constexpr std::chrono::microseconds WORK_NAP{100};

/// The oneTBB parallelism that gives the arena its workers. It is never lower than the process has already.
std::size_t parallelism(unsigned max_active)
{
    return std::max<std::size_t>(tbb::global_control::active_value(tbb::global_control::max_allowed_parallelism),
                                 max_active + 1U); // oneTBB counts a thread of the caller, which does not work here
}

/// Confines a thread to the workqueue's CPUs while it works in the arena.
class confinement : public tbb::task_scheduler_observer
{
public:
    confinement(tbb::task_arena &arena, const cpu_set_t &cpus) : task_scheduler_observer(arena), cpus_(cpus)
    {
        observe(true);
    }
    ~confinement() override { observe(false); }

    void on_scheduler_entry(bool) override
    {
        pthread_getaffinity_np(pthread_self(), sizeof before, &before);
        pthread_setaffinity_np(pthread_self(), sizeof cpus_, &cpus_);
    }
    void on_scheduler_exit(bool) override { pthread_setaffinity_np(pthread_self(), sizeof before, &before); }

private:
    static inline thread_local cpu_set_t before;
    const cpu_set_t cpus_;
};

cpu_set_t as_set(const std::vector<int> &cpus)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    for (const int cpu : cpus) {
        if (cpu < 0 || cpu >= CPU_SETSIZE) {
            throw error("a workqueue cannot run on logical CPU " + std::to_string(cpu));
        }
        CPU_SET(static_cast<unsigned>(cpu), &set);
    }
    if (cpus.empty()) {
        throw error("a workqueue needs at least one CPU");
    }
    return set;
}

std::vector<int> cpus_beside(const runtime &rt)
{
    cpu_set_t set;
    if (const int rc = pthread_getaffinity_np(pthread_self(), sizeof set, &set)) {
        throw_errno(rc, "the CPUs for a workqueue cannot be found out");
    }
    for (const cpu_options &cpu : rt.options().cpus) {
        if (cpu.affinity >= 0) {
            CPU_CLR(static_cast<unsigned>(cpu.affinity), &set);
        }
    }
    std::vector<int> cpus;
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
        if (CPU_ISSET(static_cast<unsigned>(cpu), &set)) {
            cpus.push_back(cpu);
        }
    }
    if (cpus.empty()) {
        throw error("the runtime uses every CPU that this thread may, and none is left for a workqueue: give the "
                    "runtime fewer CPUs, or name the workqueue's");
    }
    return cpus;
}

/// True if the caller runs the work now. False: it is cancelled, or it is running and will run once more. acq_rel;
/// pairs with queue_work() and finish().
bool start(work_struct &work) noexcept
{
    std::uint32_t val = work.state.load(std::memory_order_relaxed);
    std::uint32_t next;
    do {
        if (val & CANCEL) {
            next = (val & ~PENDING) + DONE;
        } else if (val & RUNNING) {
            next = val | AGAIN;
        } else {
            next = (val & ~PENDING) | RUNNING;
        }
    } while (!work.state.compare_exchange_weak(val, next, std::memory_order_acq_rel, std::memory_order_relaxed));
    return !(val & (CANCEL | RUNNING));
}

/// True if the caller runs the work once more. False: its owner may have freed the work. acq_rel; pairs with start(),
/// queue_work() and busy().
bool finish(work_struct &work) noexcept
{
    std::uint32_t val = work.state.load(std::memory_order_relaxed);
    bool again;
    std::uint32_t next;
    do {
        again = (val & AGAIN) && !(val & CANCEL);
        if (again) {
            next = (val & ~(AGAIN | PENDING)) + DONE;
        } else if (val & AGAIN) { // and cancelled: this run has ended, and the next one never starts
            next = (val & ~(RUNNING | AGAIN | PENDING)) + 2 * DONE;
        } else {
            next = (val & ~RUNNING) + DONE;
        }
    } while (!work.state.compare_exchange_weak(val, next, std::memory_order_acq_rel, std::memory_order_relaxed));
    return again;
}

void run(work_struct &work) noexcept
{
    if (!start(work)) {
        return;
    }
    do {
        HALFPOLL_RACE_POINT(work_started, &work);
        work.func(work);
        HALFPOLL_RACE_POINT(work_ended, &work);
    } while (finish(work));
}

bool busy(const work_struct &work) noexcept
{
    return work.state.load(std::memory_order_acquire) & (PENDING | RUNNING); // pairs with start() and finish()
}

/// The number of runs that have ended or were cancelled between two states.
std::uint32_t done_between(std::uint32_t before, std::uint32_t after) noexcept
{
    return (after / DONE - before / DONE) % (UINT32_MAX / DONE + 1);
}

} // namespace

struct workqueue::impl {
    tbb::global_control workers;
    tbb::task_arena arena;
    confinement confined;
    std::atomic<work_struct *> queued{nullptr}; ///< newest first. Release and acquire: push(), take_all()
    std::atomic<std::uint64_t> active{0};       ///< items queued or running. Release at an end; pairs with drain()
    /// Counts wake-ups: the dispatcher waits for it to change. release; pairs with the acquire in dispatch().
    std::atomic<std::uint32_t> wakes{0};
    /// Orders the hand-over of work to the arena. oneTBB does so too, but its code is not instrumented, so that
    /// ThreadSanitizer would not see it. The release and the acquire in dispatch() pair.
    std::atomic<std::uint32_t> handed{0};
    std::atomic<bool> stop{false}; ///< ordered by `wakes`
    std::thread dispatcher;        ///< hands work to the arena, which allocates; threads that queue never allocate

    impl(const cpu_set_t &cpus, unsigned max_active)
        : workers(tbb::global_control::max_allowed_parallelism, parallelism(max_active)),
          arena(static_cast<int>(max_active), 0), confined(arena, cpus),
          dispatcher(start_thread("workqueue", [this, cpus] { dispatch(cpus); }))
    {
    }

    void wake() noexcept
    {
        wakes.fetch_add(1, std::memory_order_release);
        wakes.notify_one();
    }

    void dispatch(const cpu_set_t &cpus)
    {
        pthread_setname_np(pthread_self(), "hp/workqueue");
        pthread_setaffinity_np(pthread_self(), sizeof cpus, &cpus); // the arena's threads inherit the affinity
        std::uint32_t seen = 0;
        while (!stop.load(std::memory_order_relaxed)) {
            wakes.wait(seen, std::memory_order_acquire); // pairs with the release in wake()
            seen = wakes.load(std::memory_order_acquire);
            for (work_struct *work = take_all_in_order(queued); work;) {
                work_struct *next = work->next; // read before the work runs and may be queued again
                handed.fetch_add(1, std::memory_order_release);
                arena.enqueue([this, work] {
                    handed.load(std::memory_order_acquire);
                    run(*work);
                    active.fetch_sub(1, std::memory_order_release); // pairs with drain()
                });
                work = next;
            }
        }
    }
};

workqueue::workqueue(const std::vector<int> &cpus, unsigned max_active)
    : impl_(std::make_unique<impl>(as_set(cpus), max_active ? max_active : static_cast<unsigned>(cpus.size())))
{
}

workqueue::workqueue(const runtime &rt, unsigned max_active) : workqueue(cpus_beside(rt), max_active) {}

workqueue::~workqueue()
{
    drain();
    impl_->stop.store(true, std::memory_order_relaxed);
    impl_->wake();
    impl_->dispatcher.join();
}

void workqueue::drain()
{
    while (impl_->active.load(std::memory_order_acquire) != 0) { // pairs with the release in dispatch()
        std::this_thread::sleep_for(WORK_NAP);
    }
}

bool queue_work(workqueue &wq, work_struct &work) noexcept
{
    std::uint32_t val = work.state.load(std::memory_order_relaxed);
    do {
        if (val & CANCEL) {
            return false;
        }
        // Always a write, so that a run that starts later sees what the caller wrote before. acq_rel; pairs with
        // start().
    } while (
        !work.state.compare_exchange_weak(val, val | PENDING, std::memory_order_acq_rel, std::memory_order_relaxed));
    if (val & PENDING) {
        return false;
    }
    workqueue::impl &q = *wq.impl_;
    q.active.fetch_add(1, std::memory_order_relaxed);
    if (push(q.queued, work)) {
        q.wake();
    }
    return true;
}

void flush_work(const work_struct &work)
{
    const std::uint32_t before = work.state.load(std::memory_order_acquire);
    const std::uint32_t wanted = (before & RUNNING ? 1 : 0) + (before & PENDING ? 1 : 0);
    while (done_between(before, work.state.load(std::memory_order_acquire)) < wanted) { // pairs with start(), finish()
        std::this_thread::sleep_for(WORK_NAP);
    }
}

bool cancel_work_sync(work_struct &work)
{
    const bool queued = work.state.fetch_or(CANCEL, std::memory_order_acq_rel) & PENDING;
    while (busy(work)) {
        std::this_thread::sleep_for(WORK_NAP);
    }
    work.state.fetch_and(~CANCEL, std::memory_order_acq_rel); // pairs with queue_work()
    return queued;
}

} // namespace halfpoll
