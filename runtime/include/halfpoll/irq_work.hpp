// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/ktime.hpp>

#include <atomic>
#include <cstdint>

namespace halfpoll
{

struct softnet_data;

/// Flags of an irq_work, with the kernel's names and values.
enum irq_work_flags : std::uint32_t {
    IRQ_WORK_PENDING = 1U << 0,  ///< queued; its callback has not started
    IRQ_WORK_BUSY = 1U << 1,     ///< from the claim until the callback has returned
    IRQ_WORK_LAZY = 1U << 2,     ///< does not interrupt the CPU: runs at the next tick, within IRQ_WORK_TICK
    IRQ_WORK_HARD_IRQ = 1U << 3, ///< runs on the CPU's own thread, in_hardirq(), never in `irq_work/N`
};

/// The longest that LAZY work waits on an idle CPU, in ns.
inline constexpr ktime_t IRQ_WORK_TICK = 4 * NSEC_PER_MSEC;

struct irq_work;
/// The callback. It runs once for each successful irq_work_queue() or irq_work_queue_on(), and sees what that caller
/// wrote before, and what callers wrote that have found the item queued since. It may queue the item again. HARD_IRQ
/// items, and all items of a CPU without `irq_work/N`, run on the CPU's own thread, in_hardirq(): the callback is short
/// and never calls local_bh_disable(). Other items run in `irq_work/N`, in no section, and may take locks.
using irq_work_fn = void (*)(irq_work &) noexcept;

/// A function that a CPU runs soon, whatever the caller is doing (the kernel's irq_work). The user owns it, keeps it
/// until irq_work_sync() has returned, and sets `func` and LAZY or HARD_IRQ before its first use.
struct irq_work {
    irq_work_fn func = nullptr;
    std::atomic<std::uint32_t> flags{0}; ///< irq_work_flags; read-modify-writes, each pairs with the others
    irq_work *next = nullptr;            ///< list linkage; belongs to the thread that claimed the item
};

/// Queues `work` on the caller's own CPU. In a section. False: it is queued already, and its callback will see what the
/// caller wrote before.
bool irq_work_queue(irq_work &work) noexcept;
/// Queues `work` on the CPU of `sd`. Any thread; allocates nothing; makes at most one system call, and only if a thread
/// sleeps. From outside the CPU, a LAZY item interrupts it as any other. Result as of irq_work_queue().
bool irq_work_queue_on(irq_work &work, softnet_data &sd) noexcept;

/// True if `work` is queued or its callback is running. Any thread.
inline bool irq_work_is_busy(const irq_work &work) noexcept
{
    return work.flags.load(std::memory_order_acquire) & IRQ_WORK_BUSY; // pairs with the release at the callback's end
}
/// Waits until `work` is neither queued nor running; then it may be freed. Control thread; sleeps.
void irq_work_sync(const irq_work &work);

} // namespace halfpoll
