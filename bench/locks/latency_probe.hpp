// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/ktime.hpp>

#include <atomic>
#include <cstdint>
#include <vector>

/// Records the time of urgent packets from their interrupt until they are inside the driver. One packet is under way at
/// a time. expect() and sent() are called on one CPU.
class latency_probe
{
public:
    /// The first packets are not reported, since they meet cold memory.
    static constexpr unsigned warm_up = 64;

    explicit latency_probe(unsigned wakes) : wanted_(wakes + warm_up) { ns_.reserve(wanted_); }

    /// The next interrupt comes at `due`.
    void expect(halfpoll::ktime_t due) noexcept { due_ = due; }
    /// The packet was inside the driver at `now`.
    void sent(halfpoll::ktime_t now) noexcept
    {
        ns_.push_back(now - due_);
        // release; pairs with the acquire in finished().
        done_.store(static_cast<unsigned>(ns_.size()), std::memory_order_release);
    }
    /// True if all packets are done. Any thread.
    bool finished() const noexcept { return done_.load(std::memory_order_acquire) >= wanted_; }
    unsigned done() const noexcept { return done_.load(std::memory_order_relaxed); }
    std::vector<halfpoll::ktime_t> latencies() const { return {ns_.begin() + warm_up, ns_.end()}; }

private:
    const unsigned wanted_;
    halfpoll::ktime_t due_ = 0;
    std::vector<halfpoll::ktime_t> ns_;
    std::atomic<unsigned> done_{0};
};
