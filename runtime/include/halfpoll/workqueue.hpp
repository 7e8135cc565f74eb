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

/// A function that runs soon in process context, where it may allocate, lock, sleep and make system calls. It never
/// runs twice at once. The user owns the item, sets `func` before its first use, and keeps it until cancel_work_sync()
/// has returned, or flush_work() if no thread queues it any more. It is on one workqueue at a time.
struct work_struct {
    work_func func = nullptr;
    std::atomic<std::uint32_t> state{0}; ///< read-modify-writes, acq_rel; each pairs with the others
    work_struct *next = nullptr;         ///< list linkage; belongs to the thread that queued the item
};

/// Runs work that is too slow for data CPUs, in a oneTBB arena whose threads are confined to other CPUs.
class workqueue
{
public:
    /// Runs at most `max_active` items at a time (0: one per CPU) on the logical CPUs `cpus`. Throws `error` if `cpus`
    /// is empty or names an impossible CPU, or if the thread cannot be started.
    explicit workqueue(const std::vector<int> &cpus, unsigned max_active = 0);
    /// Uses the CPUs that the calling thread may run on and the runtime does not use. Throws `error` that names the
    /// remedy if none is left, or if the thread cannot be started.
    explicit workqueue(const runtime &rt, unsigned max_active = 0);
    /// Waits until all work has run. No thread queues work any more.
    ~workqueue();
    workqueue(const workqueue &) = delete;
    workqueue &operator=(const workqueue &) = delete;

    /// Sleeps until no item is queued or running. Never called from an item of this workqueue.
    void drain();

private:
    friend bool queue_work(workqueue &wq, work_struct &work) noexcept;
    struct impl;
    std::unique_ptr<impl> impl_;
};

/// Queues `work` to run once. False: it is queued already, and its callback will see what the caller wrote before; or
/// it is being cancelled. An item that its own callback queues runs again afterwards. Any thread, in sections too:
/// allocates nothing, and makes a system call only if the workqueue sleeps.
bool queue_work(workqueue &wq, work_struct &work) noexcept;
/// Sleeps until the run that is under way and the run that is queued when the call begins have ended or been cancelled;
/// does not wait for later ones. Never called from the item's own callback.
void flush_work(const work_struct &work);
/// Sleeps until `work` is neither queued nor running, and keeps it from starting meanwhile. True if it was queued.
/// Never called from the item's own callback.
bool cancel_work_sync(work_struct &work);

} // namespace halfpoll
