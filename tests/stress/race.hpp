// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "runtime/base/race_point.hpp"

#include <atomic>
#include <functional>
#include <thread>

namespace halfpoll
{

/// Stops the thread that next reaches a race point and runs something else there, once.
class race
{
public:
    /// `object` null: any object. `what` runs on the thread that reached the point. One race at a time.
    race(race_point where, const void *object, std::function<void()> what)
    {
        where_ = where;
        object_ = object;
        what_ = std::move(what);
        hits_.store(0);
        armed_.store(true, std::memory_order_release); // pairs with the acquire exchange in reached()
        race_hook_fn.store(reached, std::memory_order_release);
    }
    ~race()
    {
        armed_.store(false);
        race_hook_fn.store(nullptr, std::memory_order_release);
    }
    race(const race &) = delete;
    race &operator=(const race &) = delete;

    /// True if `what` has run to its end.
    bool happened() const { return hits_.load(std::memory_order_acquire) == 1; }

private:
    static void reached(race_point where, void *object) noexcept
    {
        if (!armed_.load(std::memory_order_acquire) || where != where_ || (object_ && object != object_)) {
            return;
        }
        if (armed_.exchange(false, std::memory_order_acq_rel)) {
            what_();
            hits_.store(1, std::memory_order_release);
        }
    }

    static inline race_point where_;
    static inline const void *object_;
    static inline std::function<void()> what_;
    static inline std::atomic<bool> armed_{false};
    static inline std::atomic<int> hits_{0};
};

/// Runs `fn` to its end on a thread of its own.
inline void elsewhere(const std::function<void()> &fn) { std::thread(fn).join(); }

} // namespace halfpoll
