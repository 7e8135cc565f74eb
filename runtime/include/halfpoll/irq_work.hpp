// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/ktime.hpp>

#include <atomic>
#include <cstdint>

namespace halfpoll
{

struct softnet_data;

/// The kernel's names and values.
enum irq_work_flags : std::uint32_t {
    IRQ_WORK_PENDING = 1U << 0,  ///< queued, not started
    IRQ_WORK_BUSY = 1U << 1,     ///< claimed until its callback has ended
    IRQ_WORK_LAZY = 1U << 2,     ///< need not interrupt: runs at the next tick, IRQ_WORK_TICK away at most
    IRQ_WORK_HARD_IRQ = 1U << 3, ///< never in `irq_work/N`: on the CPU's own thread, in_hardirq()
};

/// How long LAZY work waits at most on a CPU that has nothing else to do.
inline constexpr ktime_t IRQ_WORK_TICK = 4 * NSEC_PER_MSEC;

struct irq_work;
/// Runs once for each time that the item was claimed; what the claimant, and those who tried in vain since, wrote
/// before is visible. May queue the item again. HARD, and everything where there is no `irq_work/N`: on the CPU's own
/// thread, in_hardirq(), no sections, must be short. Else in `irq_work/N`, in no section, and may take locks.
using irq_work_fn = void (*)(irq_work &) noexcept;

/// A function to be run soon on a CPU, whatever the caller is doing (the kernel's irq_work). Owned by the user, who
/// keeps it until irq_work_sync() has returned, and sets `func` and LAZY or HARD_IRQ before its first use.
struct irq_work {
    irq_work_fn func = nullptr;
    std::atomic<std::uint32_t> flags{0}; ///< read-modify-writes; each pairs with the others
    irq_work *next = nullptr;            ///< list linkage, of who claimed it
};

/// Queues it on the caller's own CPU. In a section. False: it is queued already, and will see what the caller wrote.
bool irq_work_queue(irq_work &work) noexcept;
/// Queues it on any CPU. Any thread; allocates nothing; at most one system call, and only if a thread sleeps. LAZY
/// interrupts like any other when it comes from outside the CPU. Result as above.
bool irq_work_queue_on(irq_work &work, softnet_data &sd) noexcept;

/// Queued, or its callback is running.
inline bool irq_work_is_busy(const irq_work &work) noexcept
{
    return work.flags.load(std::memory_order_acquire) & IRQ_WORK_BUSY; // pairs with the release at the callback's end
}
/// Waits until it is neither queued nor running; then it may go. Control thread; sleeps.
void irq_work_sync(const irq_work &work);

} // namespace halfpoll
