// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/ktime.hpp>

#include <cstddef>
#include <vector>

namespace halfpoll
{

struct hrtimer;
class hrtimer_queue;

/// A callback runs on the CPU that owns the timer, in softirq context (HRTIMER_SOFTIRQ). The timer is already
/// inactive, so the callback may start it again.
using hrtimer_fn = void (*)(hrtimer &) noexcept;

/// A one-shot timer pinned to one CPU (the kernel's HRTIMER_MODE_ABS_PINNED). Embedded in the object that owns it,
/// which must cancel it before it goes away. All calls belong to the owning CPU's bottom-half thread; while that CPU is
/// offline, to the CPU that runtime::call_on() reaches in its place.
struct hrtimer {
    hrtimer_fn function = nullptr;
    ktime_t expires = 0;
    hrtimer_queue *home = nullptr;     // where it was started
    std::size_t heap_index = inactive; // place in the queue's heap

    static constexpr std::size_t inactive = SIZE_MAX;
    bool active() const noexcept { return heap_index != inactive; }
};

/// The timers of one CPU: a binary heap by expiry. Single-threaded. start() allocates only when the number of
/// concurrently active timers exceeds every earlier number plus what reserve() set aside. The queue of an offline CPU
/// stands for that of the CPU which has its timers.
class hrtimer_queue
{
public:
    void reserve(std::size_t timers) { heap_.reserve(timers); }
    /// (Re)starts at an absolute time.
    void start(hrtimer &timer, ktime_t expires);
    /// True if it was active.
    bool cancel(hrtimer &timer) noexcept;
    /// KTIME_MAX when nothing is armed.
    ktime_t next_expiry() const noexcept { return heap_.empty() ? KTIME_MAX : heap_.front()->expires; }
    /// Gives all timers to another CPU's queue, and those that are started here from now on. On the other CPU, while
    /// this one stands still; allocates.
    void lend_to(hrtimer_queue &to);
    /// Ends that: the timers that were started here, or on queues that are lent to this one, come back. In the same
    /// place.
    void take_back();
    /// Runs what has expired at `now`; timers started meanwhile wait for the next call. Returns how many ran.
    unsigned run_expired(ktime_t now) noexcept;

private:
    void sift_up(std::size_t i) noexcept;
    void sift_down(std::size_t i) noexcept;
    void place(std::size_t i, hrtimer *timer) noexcept;
    void insert(hrtimer &timer, ktime_t expires);
    bool stands_for(const hrtimer_queue *home) const noexcept;

    std::vector<hrtimer *> heap_;
    hrtimer_queue *lent_to_ = nullptr; ///< null: it has its timers itself
};

} // namespace halfpoll
