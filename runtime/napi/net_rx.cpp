// SPDX-License-Identifier: BSD-3-Clause
#include "net_rx.hpp"

#include <halfpoll/runtime_env.hpp>

#include "napi_internal.hpp"
#include "runtime/base/race_point.hpp"
#include "runtime/softirq/poll_list.hpp"
#include "runtime/softirq/remote.hpp"
#include "runtime/trace/trace_emit.hpp"

namespace halfpoll
{

namespace
{

/// Polls an instance that was taken off the list, and queues it again if it stays owned. Returns the number of packets.
template <bool TRACED>
int napi_poll(softnet_data &sd, napi_struct &napi, napi_list &repoll) noexcept
{
    const int work = napi_call_poll(napi, napi.weight);
    if constexpr (TRACED) {
        trace_napi_poll(napi, work, napi.weight);
    }
    if (work >= napi.weight) {
        if (napi_poll_full(napi, work)) {
            repoll.push_back(napi);
        }
    } else if (napi.spinning) {
        (work > 0 ? repoll : sd.spin_list).push_back(napi);
    }
    return work;
}

/// Puts what is left back on the poll list, in the order: not polled yet, newly scheduled, to be polled again. Inlined,
/// since the traced caller beside the untraced one would otherwise cost the latter a call.
[[gnu::always_inline]] inline void net_rx_requeue(softnet_data &sd, napi_list &list, napi_list &repoll) noexcept
{
    list.splice_back(sd.poll_list);
    list.splice_back(repoll);
    sd.poll_list = list;
    if (sd.poll_list.empty()) {
        sd.stats.behind_since.store(0, std::memory_order_relaxed);
        sd.in_net_rx_action = false;
    } else {
        __raise_softirq_irqoff(sd, NET_RX_SOFTIRQ); // the flag stays true: NET_RX is pending
    }
}

template <bool TRACED>
void net_rx(softnet_data &sd) noexcept
{
    const runtime_options &options = sd.env->options();
    int budget = static_cast<int>(sd.env->netdev_budget());
    const ktime_t started = sd.now;
    const ktime_t deadline = started + sd.env->netdev_budget_usecs() * NSEC_PER_USEC;
    std::uint64_t processed = 0;
    ktime_t busy = 0;
    napi_list list, repoll;

    sd.in_net_rx_action = true;
    list.splice_back(sd.poll_list);
    for (;;) {
        napi_struct *napi = list.pop_front();
        if (!napi) {
            if (!repoll.empty()) {
                break;
            }
            HALFPOLL_RACE_POINT(net_rx_all_polled, &sd);
            if (sd.poll_list.empty()) {
                break;
            }
            list.splice_back(sd.poll_list); // scheduled during a poll, when in_net_rx_action kept NET_RX unraised
            continue;
        }
        const ktime_t begun = sd.now;
        const int work = napi_poll<TRACED>(sd, *napi, repoll);
        sd.now = options.clock();
        busy += work > 0 ? sd.now - begun : 0;
        budget -= work;
        processed += static_cast<unsigned>(work);
        if (budget <= 0 || sd.now >= deadline) {
            stat_add(sd.stats.time_squeeze);
            break;
        }
        if (call_waits(sd, started)) {
            break;
        }
    }
    stat_add(sd.stats.processed, processed);
    stat_add(sd.stats.busy, static_cast<std::uint64_t>(busy));
    net_rx_requeue(sd, list, repoll);
}

} // namespace

void net_rx_action(softnet_data &sd) noexcept { net_rx<false>(sd); }

void net_rx_action_traced(softnet_data &sd) noexcept { net_rx<true>(sd); }

} // namespace halfpoll
