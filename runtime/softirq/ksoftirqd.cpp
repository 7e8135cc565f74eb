// SPDX-License-Identifier: BSD-3-Clause
#include "ksoftirqd.hpp"

#include <sched.h>

namespace halfpoll
{

void run_ksoftirqd(softnet_data &sd, const smpboot_thread &) noexcept
{
    {
        bh_section bh(sd);
        bh->ksoftirqd_active = false;
        if (bh->softirq_pending != 0 && !bh->spin_list.empty()) { // the CPU's own thread, whose part it is, may block
            bh->poll_list.splice_back(bh->spin_list);
            __raise_softirq_irqoff(*bh, NET_RX_SOFTIRQ);
        }
    }              // dispatches once, and wakes this thread again if something is left
    sched_yield(); // at ordinary priority: whoever else has work on this CPU gets his turn
}

} // namespace halfpoll
