// SPDX-License-Identifier: BSD-3-Clause
#include <halfpoll/runtime.hpp>
#include <halfpoll/softnet_data.hpp>

#include "runtime/base/bh_self.hpp"
#include "runtime/thread/bh_registration.hpp"

#include <string>

namespace halfpoll
{

cpu_attachment::cpu_attachment(runtime &rt, unsigned cpu)
{
    if (rt.options().exclusion == exclusion_mode::exclusive) {
        throw error("runtime CPU " + std::to_string(cpu) +
                    " has one bottom-half thread in exclusion mode exclusive: "
                    "start the runtime in mode big or nested to attach others");
    }
    if (this_bh_self.home) {
        throw error("this thread is a bottom-half thread of runtime CPU " + std::to_string(this_bh_self.home->cpu) +
                    " already");
    }
    softnet_data &sd = rt.cpu(cpu);
    sd.attachments.fetch_add(1, std::memory_order_seq_cst); // before the check below: pairs with runtime::withdraw()
    try {
        if (!sd.online.load(std::memory_order_seq_cst)) {
            throw error("runtime CPU " + std::to_string(cpu) + " is offline: nothing can be attached to it");
        }
        registration_ = std::make_unique<bh_registration>(sd, bh_registration::role::further);
    } catch (...) {
        sd.attachments.fetch_sub(1, std::memory_order_release);
        throw;
    }
    sd_ = &sd;
}

cpu_attachment::~cpu_attachment()
{
    registration_.reset();
    sd_->attachments.fetch_sub(1, std::memory_order_release); // pairs with the load in runtime::withdraw()
}

} // namespace halfpoll
