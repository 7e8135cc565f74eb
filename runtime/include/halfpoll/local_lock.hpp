// SPDX-License-Identifier: BSD-3-Clause
//
// Locks of the resources that bottom-half threads of one logical CPU share. Each is held briefly, so that an urgent
// thread waits briefly (docs/locks.md).
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

/// Pins the calling thread to one logical CPU for the lifetime of the object, and permits it to take that CPU's locks.
/// A thread has at most one. Construct and destroy on that thread.
class cpu_pin
{
public:
    /// Throws `error` if the system refuses the affinity, or if the thread has a cpu_pin already. `who` names the
    /// thread in the message.
    explicit cpu_pin(int cpu, const std::string &who = "the thread");
    /// Restores the affinity that the thread had before.
    ~cpu_pin();
    cpu_pin(const cpu_pin &) = delete;
    cpu_pin &operator=(const cpu_pin &) = delete;

private:
    std::int32_t pinned_to_ = -1;
    cpu_set_t old_affinity_;
};

/// The locks that have the same place in the order in which locks are nested. Debug builds learn that order as locks
/// are taken.
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

/// Debug builds check how locks are used. They print a violation on stderr and abort. Violations are a lock that is
/// taken with bottom halves enabled, twice by one thread, under another lock of its class, or in an order that closes a
/// cycle with orders seen before; a ninth lock on one thread; a lock that is released by a thread that does not hold
/// it, or held where packets are delivered or an instance is polled.
namespace lock_checker
{

void acquire(const nested_bh_lock &lock) noexcept;
void release(const nested_bh_lock &lock) noexcept;
/// The caller is about to run code of other components, which `what` names: it holds no lock.
void expect_none(const char *what) noexcept;

} // namespace lock_checker

#ifdef NDEBUG
#define HALFPOLL_LOCK_CHECK(call) static_cast<void>(0)
#else
#define HALFPOLL_LOCK_CHECK(call) ::halfpoll::lock_checker::call
#endif

/// The lock of one per-CPU resource, among threads that are pinned to that CPU and in a section (the kernel's
/// local_lock_t under PREEMPT_RT, taken by local_lock_nested_bh()). Uncontended it costs one compare-exchange to take
/// and one to release. A waiter lends the holder, which was preempted, its priority. Not recursive; never held across
/// delivery or a poll. If a thread that no cpu_pin holds on the CPU takes it, the program aborts with a message on
/// stderr, in release builds too.
class nested_bh_lock
{
public:
    /// `cpu` is the logical CPU whose threads share the lock. `cls` outlives the lock.
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
    /// True if the calling thread holds it.
    bool held() const noexcept { return word_.held(); }
    const nested_bh_lock_class &lock_class() const noexcept { return class_; }
    int cpu() const noexcept { return cpu_; }

private:
    [[noreturn]] void refuse() const noexcept;

    pi_lock word_;
    const nested_bh_lock_class &class_;
    const int cpu_;
};

/// Holds a lock for the lifetime of the object.
class [[nodiscard]] local_lock_nested_bh
{
public:
    explicit local_lock_nested_bh(nested_bh_lock &lock) noexcept : lock_(&lock) { lock.lock(); }
    /// A null `lock` is not taken: only one thread uses the resource.
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
    /// Always true, for the notation `if (local_lock_nested_bh guard(lock); guard)`.
    constexpr explicit operator bool() const noexcept { return true; }

private:
    nested_bh_lock *const lock_;
};

} // namespace halfpoll
