// SPDX-License-Identifier: BSD-3-Clause
#include <halfpoll/runtime.hpp>

#include "runtime/cpu/bh_thread.hpp"
#include "runtime/softirq/local_bh.hpp"
#include "runtime/trace/trace.hpp"

#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_rcu_qsbr.h>

#include <cstring>
#include <pthread.h>

namespace halfpoll
{

namespace
{

/// Registers the calling thread as a DPDK lcore. False: it is one already. Throws `error` if the EAL has no lcore id.
bool become_lcore(const softnet_data &sd)
{
    if (rte_lcore_id() != LCORE_ID_ANY) {
        return false;
    }
    if (rte_thread_register() < 0) {
        throw error("runtime CPU " + std::to_string(sd.cpu) + " gets no DPDK lcore id: " + rte_strerror(rte_errno) +
                    " (the EAL must be initialised with --in-memory, and has " + std::to_string(RTE_MAX_LCORE) +
                    " ids: start it with fewer lcores)");
    }
    return true;
}

} // namespace

std::string set_fifo(int priority, const std::string &who)
{
    if (priority == 0) {
        return {};
    }
    sched_param param{};
    param.sched_priority = priority;
    const int rc = pthread_setschedparam(pthread_self(), SCHED_FIFO, &param);
    trace_forget_priority();
    return rc == 0 ? std::string()
                   : who + " runs without SCHED_FIFO " + std::to_string(priority) + ": " + std::strerror(rc) +
                         " (CAP_SYS_NICE?)";
}

bh_registration::bh_registration(softnet_data &sd, role r)
    : sd_(sd), lcore_registered_(become_lcore(sd)),
      reader_(r == role::own ? sd.cpu : static_cast<unsigned>(sd.rt->options().cpus.size()) + rte_lcore_id())
{
    const int affinity = sd.rt->options().cpus[sd.cpu].affinity;
    try {
        if (affinity >= 0) {
            pin_.emplace(affinity, "runtime CPU " + std::to_string(sd.cpu));
        }
        if (rte_rcu_qsbr_thread_register(sd.rt->qsbr(), reader_) != 0) {
            throw error("runtime CPU " + std::to_string(sd.cpu) + " cannot be registered as an RCU reader");
        }
    } catch (...) {
        release_thread();
        throw;
    }
    if (r == role::own) {
        rte_rcu_qsbr_thread_online(sd.rt->qsbr(), reader_);
    }
    bh_self_set(&sd, r == role::own, reader_);
}

bh_registration::~bh_registration()
{
    bh_self_set(nullptr, false, 0);
    rte_rcu_qsbr_thread_offline(sd_.rt->qsbr(), reader_);
    rte_rcu_qsbr_thread_unregister(sd_.rt->qsbr(), reader_);
    release_thread();
}

void bh_registration::release_thread() noexcept
{
    pin_.reset();
    if (lcore_registered_) {
        rte_thread_unregister();
    }
}

cpu_attachment::cpu_attachment(runtime &rt, unsigned cpu)
{
    if (rt.options().exclusion == exclusion_mode::exclusive) {
        throw error("runtime CPU " + std::to_string(cpu) +
                    " has one bottom-half thread in exclusion mode exclusive: "
                    "start the runtime in mode big or nested to attach others");
    }
    if (this_bh_home()) {
        throw error("this thread is a bottom-half thread of runtime CPU " + std::to_string(this_bh_home()->cpu) +
                    " already");
    }
    softnet_data &sd = rt.cpu(cpu);
    sd.attachments.fetch_add(1, std::memory_order_seq_cst); // before the check below: pairs with runtime::cpu_down()
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
    sd_->attachments.fetch_sub(1, std::memory_order_release); // pairs with the load in runtime::cpu_down()
}

} // namespace halfpoll
