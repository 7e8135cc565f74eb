// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

namespace halfpoll
{

class runtime;
class workqueue;
struct work_struct;

using work_func = void (*)(work_struct &) noexcept;

/// A function that runs soon in process context: it may allocate, lock, sleep and make system calls. Never beside
/// itself. Owned by the user, who keeps it until cancel_work_sync() has returned, or flush_work() if nobody queues it
/// any more, and sets `func` before its first use. On one workqueue at a time.
struct work_struct {
    work_func func = nullptr;
    std::atomic<std::uint32_t> state{0}; ///< read-modify-writes, acq_rel; each pairs with the others
    work_struct *next = nullptr;         ///< list linkage, of who queued it
};

/// Work that is too slow for the data cores, on a oneTBB arena whose threads run on other CPUs only.
class workqueue
{
public:
    /// Logical CPUs for the workers, at most `max_active` (0: one a CPU) at a time. Throws `error` if there is none.
    explicit workqueue(const std::vector<int> &cpus, unsigned max_active = 0);
    /// On the CPUs that the calling thread may use and the runtime does not. Throws `error` that names the remedy if
    /// none is left.
    explicit workqueue(const runtime &rt, unsigned max_active = 0);
    /// Waits until all work has run. Nobody may queue any more.
    ~workqueue();
    workqueue(const workqueue &) = delete;
    workqueue &operator=(const workqueue &) = delete;

    /// Sleeps until nothing is queued or running. Not from work of this queue.
    void drain();

private:
    friend bool queue_work(workqueue &wq, work_struct &work) noexcept;
    struct impl;
    std::unique_ptr<impl> impl_;
};

/// Runs it once. False: it is queued already and will see what the caller wrote, or it is being cancelled. Any thread,
/// bottom halves too: allocates nothing, and makes a system call only if the queue sleeps. From its own callback: it
/// runs again afterwards.
bool queue_work(workqueue &wq, work_struct &work) noexcept;
/// Sleeps until the run that was queued last before this call, and one that is under way, have ended or been cancelled;
/// not for what is queued later. Not from its own callback.
void flush_work(const work_struct &work);
/// Sleeps until it is neither queued nor running, and does not let it start any more meanwhile. True if it was queued.
/// Not from its own callback.
bool cancel_work_sync(work_struct &work);

} // namespace halfpoll
