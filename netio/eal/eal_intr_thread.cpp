// SPDX-License-Identifier: BSD-3-Clause
#include "eal_intr_thread.hpp"

#include <rte_alarm.h>
#include <rte_cycles.h>

#include <atomic>
#include <semaphore>

namespace halfpoll
{
namespace
{

struct intr_call {
    const std::function<void()> &work;
    std::binary_semaphore done{0};
    /// EAL's lock orders the caller and the thread already, but ThreadSanitizer does not see it.
    std::atomic<bool> handed_over{false};
};

void run(void *arg) noexcept
{
    auto &call = *static_cast<intr_call *>(arg);
    (void)call.handed_over.load(std::memory_order_acquire); // pairs with the store in run_on_eal_intr_thread()
    call.work();
    call.done.release();
}

/// Sets a second alarm for the work. Interrupt callbacks set alarms too, some of them after the first alarm was set;
/// those expire before the second alarm. Because the second alarm has expired when this function returns, EAL runs all
/// of them before it handles interrupts again.
void run_after_pending_alarms(void *arg) noexcept
{
    constexpr unsigned DUE_US = 1;
    if (rte_eal_alarm_set(DUE_US, run, arg) != 0) {
        run(arg);
        return;
    }
    rte_delay_us_block(4 * DUE_US);
}

} // namespace

void run_on_eal_intr_thread(const std::function<void()> &work) noexcept
{
    intr_call call{work};
    call.handed_over.store(true, std::memory_order_release); // pairs with the load in run()
    if (rte_eal_alarm_set(1, run_after_pending_alarms, &call) != 0) {
        work();
        return;
    }
    call.done.acquire();
}

} // namespace halfpoll
