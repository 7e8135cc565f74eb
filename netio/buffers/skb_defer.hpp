// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/net_core.hpp>

#include <rte_branch_prediction.h>

namespace halfpoll
{

/// Says that the packets delivered until defer_end() were received by CPU `receiver`. On the delivering CPU.
inline void defer_begin(net_cpu &cpu, unsigned receiver) noexcept
{
    if (unlikely(cpu.core->skb_defer_max() != 0) && cpu.core->cpu_active(receiver)) {
        cpu.defer.receiver = receiver;
    }
}
/// Publishes the segments that were freed for that CPU.
void defer_publish(net_cpu &cpu) noexcept;
inline void defer_end(net_cpu &cpu) noexcept
{
    if (unlikely(cpu.defer.receiver != cpu.id)) {
        defer_publish(cpu);
    }
}
/// Takes back the segments that other CPUs have freed. On that CPU.
void defer_take(net_cpu &cpu) noexcept;
inline void defer_take_waiting(net_cpu &cpu) noexcept
{
    if (unlikely(cpu.core->skb_defer_max() != 0) && cpu.defer_waits.load(std::memory_order_relaxed)) {
        defer_take(cpu);
    }
}

} // namespace halfpoll
