// SPDX-License-Identifier: BSD-3-Clause
//
// Locks of what the bottom-half threads of one CPU share: held for a moment, so that an urgent thread waits for a
// moment.
//
//   nested_bh_lock_class cache_class{"napi_alloc_cache"};
//   nested_bh_lock bh_lock{cache_class, cpu};
//
//   local_lock_nested_bh guard(bh_lock);                  // to the end of the block
//   if (local_lock_nested_bh guard(bh_lock); guard) {...} // for these statements
#pragma once

#include <halfpoll/pi_lock.hpp>

#include <sched.h>
#include <string>

namespace halfpoll
{

/// Holds the calling thread on one logical CPU for as long as it lives, and lets it take that CPU's locks. One at a
/// time on a thread. Construct and destroy on that thread.
class cpu_pin
{
public:
    /// Throws `error` if the system refuses, or the thread has one already. `who`: for the message.
    explicit cpu_pin(int cpu, const std::string &who = "the thread");
    ~cpu_pin();
    cpu_pin(const cpu_pin &) = delete;
    cpu_pin &operator=(const cpu_pin &) = delete;

private:
    std::int32_t pinned_to_ = -1;
    cpu_set_t old_affinity_;
};

/// Locks that have the same place in the order in which locks are nested. Debug builds learn that order by watching.
class nested_bh_lock_class
{
public:
    /// `name` is a static string.
    explicit nested_bh_lock_class(const char *name) noexcept;
    ~nested_bh_lock_class();
    nested_bh_lock_class(const nested_bh_lock_class &) = delete;
    nested_bh_lock_class &operator=(const nested_bh_lock_class &) = delete;
    const char *name() const noexcept { return name_; }
    unsigned id() const noexcept { return id_; }

private:
    const char *const name_;
    const unsigned id_;
};

class nested_bh_lock;

/// Debug builds look whether locks are used as their contract says; what is wrong is told on stderr, and the program
/// aborts: taken with bottom halves enabled, twice by one thread, in an order that would
/// close a circle with orders seen before, or held where packets are delivered or an instance is polled.
namespace lock_checker
{

void acquire(const nested_bh_lock &lock) noexcept;
void release(const nested_bh_lock &lock) noexcept;
/// The caller is about to hand control to others (`what`: to whom): no lock may be held.
void expect_none(const char *what) noexcept;

} // namespace lock_checker

#ifdef NDEBUG
#define HALFPOLL_LOCK_CHECK(call) static_cast<void>(0)
#else
#define HALFPOLL_LOCK_CHECK(call) ::halfpoll::lock_checker::call
#endif

/// The lock of one per-CPU resource, among threads that are pinned to that CPU and in a section (the kernel's
/// local_lock_t under PREEMPT_RT, taken by local_lock_nested_bh()). Takes no more than a compare-exchange each way
/// while nobody was preempted in it; whoever then wants it lends the holder its priority. Never held across delivery or
/// a poll; not recursive. A thread that no cpu_pin holds on the CPU is told so on stderr, and the program aborts.
class nested_bh_lock
{
public:
    /// `cpu`: logical CPU whose threads share it.
    nested_bh_lock(const nested_bh_lock_class &cls, int cpu) noexcept : word_(cls.name()), class_(cls), cpu_(cpu) {}
    nested_bh_lock(const nested_bh_lock &) = delete;
    nested_bh_lock &operator=(const nested_bh_lock &) = delete;

    void lock() noexcept
    {
        const lock_self self = this_lock_self;
        if (*self.cpu != cpu_) [[unlikely]] {
            refuse();
        }
        HALFPOLL_LOCK_CHECK(acquire(*this));
        word_.lock_on_cpu(self.tid);
    }
    void unlock() noexcept
    {
        HALFPOLL_LOCK_CHECK(release(*this));
        word_.unlock_on_cpu(this_lock_self.tid);
    }
    /// By the calling thread.
    bool held() const noexcept { return word_.held(); }
    const nested_bh_lock_class &lock_class() const noexcept { return class_; }
    int cpu() const noexcept { return cpu_; }

private:
    [[noreturn]] void refuse() const noexcept;

    pi_lock word_;
    const nested_bh_lock_class &class_;
    const int cpu_;
};

/// Holds a lock for as long as it lives.
class [[nodiscard]] local_lock_nested_bh
{
public:
    explicit local_lock_nested_bh(nested_bh_lock &lock) noexcept : lock_(&lock) { lock.lock(); }
    /// Null: what it would protect has one thread.
    explicit local_lock_nested_bh(nested_bh_lock *lock) noexcept : lock_(lock)
    {
        if (lock) {
            lock->lock();
        }
    }
    ~local_lock_nested_bh()
    {
        if (lock_) {
            lock_->unlock();
        }
    }
    local_lock_nested_bh(const local_lock_nested_bh &) = delete;
    local_lock_nested_bh &operator=(const local_lock_nested_bh &) = delete;
    /// For the scoped notation: true.
    constexpr explicit operator bool() const noexcept { return true; }

private:
    nested_bh_lock *const lock_;
};

} // namespace halfpoll
