// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/ktime.hpp>

#include <cstddef>
#include <vector>

namespace halfpoll
{

struct hrtimer;
class hrtimer_queue;

/// A timer's callback. It runs on the CPU that owns the timer, in softirq context (HRTIMER_SOFTIRQ). The timer is
/// already inactive, so the callback may start it again.
using hrtimer_fn = void (*)(hrtimer &) noexcept;

/// A one-shot timer pinned to one CPU (the kernel's HRTIMER_MODE_ABS_PINNED). It is embedded in an object, which
/// cancels it before the object is freed. All calls come from a section of the owning CPU; while that CPU is offline,
/// from a section of its stand-in, which runtime::call_on() reaches.
struct hrtimer {
    hrtimer_fn function = nullptr;
    ktime_t expires = 0;               ///< absolute, ns
    hrtimer_queue *home = nullptr;     ///< the queue it was started on
    std::size_t heap_index = INACTIVE; ///< its place in the queue's heap

    static constexpr std::size_t INACTIVE = SIZE_MAX;
    bool active() const noexcept { return heap_index != INACTIVE; }
};

/// The timers of one CPU: a binary heap by expiry. One thread at a time. start() allocates only if more timers are
/// active at once than ever before and than reserve() made room for. While its CPU is offline, the queue passes start()
/// and cancel() on to the queue that it is lent to.
class hrtimer_queue
{
public:
    /// Makes room for `timers` active timers. Allocates.
    void reserve(std::size_t timers) { heap_.reserve(timers); }
    /// Starts the timer, or restarts it if it is active. `expires` is absolute, in ns.
    void start(hrtimer &timer, ktime_t expires);
    /// Makes the timer inactive. True if it was active.
    bool cancel(hrtimer &timer) noexcept;
    /// The earliest expiry; KTIME_MAX if no timer is active.
    ktime_t next_expiry() const noexcept { return heap_.empty() ? KTIME_MAX : heap_.front()->expires; }
    /// Moves all timers to `to`, the queue of another CPU, and passes on to it the timers that are started here from
    /// now on. On the CPU of `to`, while the thread of this queue's CPU is held; allocates.
    void lend_to(hrtimer_queue &to);
    /// Ends lend_to(): moves back the timers that were started on this queue, or on queues that are lent to it. On the
    /// CPU that has the timers, while the thread of this queue's CPU is held.
    void take_back();
    /// Calls the callbacks of timers that have expired at `now`, earliest first: at most as many as had expired when
    /// the call began, even if callbacks start further ones. Returns how many ran.
    unsigned run_expired(ktime_t now) noexcept;

private:
    void sift_up(std::size_t i) noexcept;
    void sift_down(std::size_t i) noexcept;
    void place(std::size_t i, hrtimer *timer) noexcept;
    void insert(hrtimer &timer, ktime_t expires);
    bool stands_for(const hrtimer_queue *home) const noexcept;

    std::vector<hrtimer *> heap_;
    hrtimer_queue *lent_to_ = nullptr; ///< the queue that has this one's timers; null: this one has them
};

} // namespace halfpoll
