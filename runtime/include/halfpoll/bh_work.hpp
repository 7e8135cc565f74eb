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
/// context for ordinary items (TASKLET vector, before the tasklets) and one for urgent items (HI vector). Items of one
/// context run one after the other. The user owns the item, keeps it until it has run or bh_work_flush() has returned,
/// and sets `func` before its first use.
struct bh_work {
    bh_work_fn func = nullptr;
    /// Bit 0: queued. The bits above it: +2 while the callback runs. Read-modify-writes, acq_rel; each pairs with
    /// the others.
    std::atomic<std::uint32_t> state{0};
    bh_work *next = nullptr; ///< list linkage; belongs to the thread that queued the item
};

/// Queues `work` to run once on the CPU of `sd`. False: it is queued already, and its callback will see what the caller
/// wrote before. Any thread; may be called from the item's own callback. Allocates nothing. The caller queues an item
/// on one CPU and context at a time; else the item may run twice at once.
bool queue_bh_work(softnet_data &sd, bh_work &work) noexcept;
/// queue_bh_work() for the urgent context (the kernel's system_bh_highpri_wq).
bool queue_bh_highpri_work(softnet_data &sd, bh_work &work) noexcept;
/// Waits until `work` is neither queued nor running. Sleeps; never called from a softirq.
void bh_work_flush(const bh_work &work);

} // namespace halfpoll
