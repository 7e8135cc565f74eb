// SPDX-License-Identifier: BSD-3-Clause
#include "ksoftirqd.hpp"
#include "poll_list.hpp"

#include <sched.h>

namespace halfpoll
{

void run_ksoftirqd(softnet_data &sd, const smpboot_thread &) noexcept
{
    {
        bh_section bh(sd);
        bh->ksoftirqd_active = false;
        // The CPU's own thread, which usually does this, may be blocked.
        if (bh->softirq_pending != 0 && !bh->spin_list.empty()) {
            bh->poll_list.splice_back(bh->spin_list);
            __raise_softirq_irqoff(*bh, NET_RX_SOFTIRQ);
        }
    }              // the section's end dispatches once, and wakes this thread again if a vector is still pending
    sched_yield(); // at SCHED_OTHER: other threads on this CPU run
}

} // namespace halfpoll
