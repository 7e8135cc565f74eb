// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <atomic>
#include <cstdint>

namespace halfpoll
{

struct softnet_data;
struct bh_work;

using bh_work_fn = void (*)(bh_work &) noexcept;

/// A work item that runs in softirq context: the kernel's BH workqueues, which replace tasklets. Each CPU has one
/// context for ordinary items (TASKLET vector, before the tasklets) and one for urgent ones (HI vector): items of one
/// context never run beside each other. Owned by the user until it has run or bh_work_flush() has returned; `func` is
/// set before its first use.
struct bh_work {
    bh_work_fn func = nullptr;
    /// bit 0: queued; above: counts 2 while the callback runs. Read-modify-writes, acq_rel; each pairs with the others.
    std::atomic<std::uint32_t> state{0};
    bh_work *next = nullptr; ///< list linkage, of who queued it
};

/// The items of one CPU and context. Pushed newest first by any thread (release CAS; pairs with the acquire exchange of
/// the context, which runs them oldest first).
struct bh_work_list {
    std::atomic<bh_work *> queued{nullptr};
    bh_work *ready = nullptr; ///< taken, oldest first. In a section
};

/// Runs it once on that CPU. False: it is queued already, and will see what the caller wrote. Any thread; may be called
/// from its own callback. Queue it on one CPU and context at a time, else it may run beside itself. Allocates nothing.
bool queue_bh_work(softnet_data &sd, bh_work &work) noexcept;
/// The same in the urgent context (the kernel's system_bh_highpri_wq).
bool queue_bh_highpri_work(softnet_data &sd, bh_work &work) noexcept;
/// Waits until it is neither queued nor running. Not from a softirq; sleeps.
void bh_work_flush(const bh_work &work);

} // namespace halfpoll
