// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/local_lock.hpp>
#include <halfpoll/port.hpp>

namespace halfpoll
{

/// A tx queue through which several runtime CPUs of one logical CPU send (mode `nested`). Each CPU stages its own
/// packets. Only one thread at a time is inside the driver, and only for a burst (the kernel's _xmit_lock, whose owner
/// under PREEMPT_RT is the thread).
class shared_tx_queue final : public tx_port
{
public:
    shared_tx_queue(port &driver, int cpu) noexcept : driver_(driver), lock_(class_, cpu) {}
    std::uint16_t tx_burst(std::uint16_t queue, rte_mbuf **pkts, std::uint16_t n) noexcept override
    {
        local_lock_nested_bh guard(lock_);
        return driver_.tx_burst(queue, pkts, n);
    }
    bool tx_doorbell(std::uint16_t queue) noexcept override
    {
        local_lock_nested_bh guard(lock_);
        return driver_.tx_doorbell(queue);
    }
    /// Number of the logical CPU.
    int cpu() const noexcept { return lock_.cpu(); }

private:
    port &driver_;
    /// A class of its own for each queue, because a virtual device may send by another one.
    const nested_bh_lock_class class_{"tx queue"};
    nested_bh_lock lock_;
};

} // namespace halfpoll
