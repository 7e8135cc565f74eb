// SPDX-License-Identifier: BSD-3-Clause
#include "bh_registration.hpp"

#include <halfpoll/error.hpp>
#include <halfpoll/runtime_env.hpp>

#include "runtime/base/bh_self.hpp"
#include "runtime/trace/trace_emit.hpp"

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
      reader_(r == role::own ? sd.cpu : static_cast<unsigned>(sd.env->options().cpus.size()) + rte_lcore_id())
{
    const int affinity = sd.env->options().cpus[sd.cpu].affinity;
    try {
        if (affinity >= 0) {
            pin_.emplace(affinity, "runtime CPU " + std::to_string(sd.cpu));
        }
        if (rte_rcu_qsbr_thread_register(sd.env->qsbr(), reader_) != 0) {
            throw error("runtime CPU " + std::to_string(sd.cpu) + " cannot be registered as an RCU reader");
        }
    } catch (...) {
        release_thread();
        throw;
    }
    if (r == role::own) {
        rte_rcu_qsbr_thread_online(sd.env->qsbr(), reader_);
    }
    const bool exclusive = sd.lock == nullptr; // the own thread is always in a section
    this_bh_self = {.home = &sd, .section = exclusive ? &sd : nullptr, .reader = reader_, .own = r == role::own};
}

bh_registration::~bh_registration()
{
    this_bh_self = {};
    rte_rcu_qsbr_thread_offline(sd_.env->qsbr(), reader_);
    rte_rcu_qsbr_thread_unregister(sd_.env->qsbr(), reader_);
    release_thread();
}

void bh_registration::release_thread() noexcept
{
    pin_.reset();
    if (lcore_registered_) {
        rte_thread_unregister();
    }
}

} // namespace halfpoll
