// SPDX-License-Identifier: BSD-3-Clause
#include "remote.hpp"

#include <halfpoll/runtime_env.hpp>

#include "poll_list.hpp"
#include "runtime/base/announce.hpp"
#include "runtime/base/mpsc_list.hpp"
#include "runtime/trace/trace_emit.hpp"

#include <cerrno>
#include <unistd.h>

namespace halfpoll
{

void announce_sleep(softnet_data &sd) noexcept { announce(sd.sleeping); }

void kick_cpu(softnet_data &sd) noexcept
{
    // The doorbell rings once per sleep: the producer that clears the flag rings, and the CPU checks everything when it
    // is awake.
    if (!announced(sd.sleeping) || sd.sleeping.exchange(0, std::memory_order_acq_rel) == 0) {
        return;
    }
    if (trace_enabled()) {
        const cpu_options &thread = sd.env->options().cpus[sd.cpu];
        trace_sched_wakeup(thread.name.c_str(), thread.fifo_priority);
    }
    const std::uint64_t one = 1;
    while (write(sd.doorbell_fd, &one, sizeof one) < 0 && errno == EINTR) {
    }
}

void napi_enqueue_remote(softnet_data &sd, napi_struct &napi) noexcept
{
    push(sd.remote_napi, napi);
    kick_cpu(sd);
}

void call_on_async(softnet_data &sd, call_single_data &call) noexcept
{
    push(sd.call_queue, call);
    kick_cpu(sd);
}

void forward_calls(softnet_data &from, softnet_data &to) noexcept
{
    call_single_data *call = take_all_in_order(from.call_queue);
    while (call) {
        call_single_data *next = call->next;
        call_on_async(to, *call);
        call = next;
    }
}

bool take_remote(softnet_data &sd) noexcept
{
    napi_struct *napi = take_all_in_order(sd.remote_napi);
    while (napi) {
        napi_struct *next = napi->next;
        if (napi == sd.backlog) {
            stat_add(sd.stats.received_rps);
        }
        napi_enqueue(sd, *napi);
        napi = next;
    }
    call_single_data *call = take_all(sd.call_queue);
    const bool called = call;
    while (call) {
        call_single_data *next = call->next; // read before the call, after which the owner may free it
        call->func(sd, call->arg);
        call = next;
    }
    return called;
}

} // namespace halfpoll
