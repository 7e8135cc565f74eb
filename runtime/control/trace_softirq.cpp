// SPDX-License-Identifier: BSD-3-Clause
//
// Softirq handlers that emit events. While tracing is on, they replace the real handlers in the table of actions, so
// that tracing costs nothing while it is off.
#include <halfpoll/runtime.hpp>

#include "runtime/napi/net_rx.hpp"
#include "runtime/trace/trace_emit.hpp"

#include <array>
#include <utility>

namespace halfpoll
{

namespace
{

template <softirq_vec VEC>
void traced(softnet_data &sd) noexcept
{
    const softirq_action handler = sd.env->softirq_handler(VEC);
    trace_softirq_entry(VEC);
    (handler == net_rx_action ? net_rx_action_traced : handler)(sd);
    trace_softirq_exit(VEC);
}

template <std::size_t... VEC>
constexpr std::array<softirq_action, NR_SOFTIRQS> traced_actions(std::index_sequence<VEC...>)
{
    return {traced<softirq_vec{VEC}>...};
}

} // namespace

void runtime::trace_switch(bool on) noexcept
{
    tracing.store(on, std::memory_order_relaxed);
    static constexpr auto actions = traced_actions(std::make_index_sequence<NR_SOFTIRQS>());
    for (unsigned vec = 0; vec < NR_SOFTIRQS; ++vec) {
        softirq_vec_[vec].store(on && handlers_[vec] ? actions[vec] : handlers_[vec], std::memory_order_relaxed);
    }
}

} // namespace halfpoll
