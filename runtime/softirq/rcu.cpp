// SPDX-License-Identifier: BSD-3-Clause
#include "rcu_internal.hpp"

#include <halfpoll/runtime_env.hpp>

#include "deferred_work.hpp"

#include <rte_rcu_qsbr.h>

#include <chrono>
#include <thread>
#include <utility>

namespace halfpoll
{

namespace
{

constexpr std::chrono::microseconds RCU_NAP{100};
/// The interval in ns at which a CPU with callbacks checks whether their grace period has ended.
constexpr ktime_t RCU_TICK = NSEC_PER_MSEC;

void call_all(rcu_list list) noexcept
{
    while (rcu_head *head = list.head) {
        list.head = head->next; // read before the callback, which may free `head`
        head->func(*head);
    }
}

/// Appends all of `list`, which has a callback and becomes empty, to `onto`.
void append(rcu_list &onto, rcu_list &list) noexcept
{
    (onto.tail ? onto.tail->next : onto.head) = list.head;
    onto.tail = list.tail;
    list = {};
}

void start_tick(softnet_data &sd) noexcept
{
    rcu_cpu &rcu = sd.deferred->rcu;
    if (!rcu.tick.active()) {
        sd.timers.start(rcu.tick, sd.env->now() + RCU_TICK);
    }
}

/// Moves the gathered callbacks to `waiting`, and starts a grace period for them.
void start_grace_period(softnet_data &sd) noexcept
{
    rcu_cpu &rcu = sd.deferred->rcu;
    rcu.waiting = std::exchange(rcu.gathering, {});
    if (rcu.waiting.head) {
        rcu.token = rte_rcu_qsbr_start(sd.env->qsbr());
        start_tick(sd);
    }
}

} // namespace

void synchronize_rcu(rte_rcu_qsbr &readers)
{
    const std::uint64_t token = rte_rcu_qsbr_start(&readers);
    while (rte_rcu_qsbr_check(&readers, token, false) == 0) {
        std::this_thread::sleep_for(RCU_NAP);
    }
}

void rcu_action(softnet_data &sd) noexcept
{
    rcu_cpu &rcu = sd.deferred->rcu;
    if (rcu.waiting.head) {
        if (rte_rcu_qsbr_check(sd.env->qsbr(), rcu.token, false) == 0) {
            start_tick(sd); // every CPU reports its own quiescent state after each dispatch
            return;
        }
        call_all(std::exchange(rcu.waiting, {}));
    }
    start_grace_period(sd);
}

void rcu_adopt(softnet_data &from, softnet_data &to) noexcept
{
    from.timers.cancel(from.deferred->rcu.tick);
    for (rcu_list *list : {&from.deferred->rcu.waiting, &from.deferred->rcu.gathering}) {
        if (list->head) {
            append(to.deferred->rcu.gathering, *list);
            __raise_softirq_irqoff(to, RCU_SOFTIRQ);
        }
    }
}

void rcu_barrier_at_end(softnet_data &sd) noexcept
{
    rcu_cpu &rcu = sd.deferred->rcu;
    while (rcu.waiting.head || rcu.gathering.head) {
        call_all(std::exchange(rcu.waiting, {}));
        call_all(std::exchange(rcu.gathering, {}));
    }
}

void rcu_init(softnet_data &sd) noexcept
{
    const auto raise = [](hrtimer &) noexcept { __raise_softirq_irqoff(*this_softnet_data(), RCU_SOFTIRQ); };
    sd.deferred->rcu.tick.function = raise;
}

void call_rcu(rcu_head &head, rcu_callback func) noexcept
{
    softnet_data &sd = *this_softnet_data();
    rcu_cpu &rcu = sd.deferred->rcu;
    head.func = func;
    head.next = nullptr;
    rcu_list one{&head, &head};
    append(rcu.gathering, one);
    if (!rcu.waiting.head) {
        __raise_softirq_irqoff(sd, RCU_SOFTIRQ);
    }
}

} // namespace halfpoll
