// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/softnet_data.hpp>

#include <atomic>
#include <string>
#include <thread>

namespace halfpoll
{

/// A further bottom-half thread of one CPU that sleeps until it is woken (the kernel's smpboot threads: `ksoftirqd/N`,
/// `irq_work/N`, `backlog_napi/N`; also `napi/<name>`). The control thread constructs and destroys it. Not in mode
/// `exclusive`.
class smpboot_thread
{
public:
    /// The work of the thread. It runs on the thread, in no section, at least once after each wake(), and once more
    /// when the thread is stopped. It returns soon if should_park().
    using run_fn = void (*)(softnet_data &, const smpboot_thread &) noexcept;

    /// Starts the thread under `name`, of which the system shows 15 bytes. `fifo_priority` 1-99: SCHED_FIFO; 0:
    /// SCHED_OTHER. `ctx` is for `run`. Throws `error` if the system refuses a thread, an lcore id or the affinity.
    smpboot_thread(softnet_data &sd, std::string name, int fifo_priority, run_fn run, void *ctx = nullptr);
    ~smpboot_thread();
    smpboot_thread(const smpboot_thread &) = delete;
    smpboot_thread &operator=(const smpboot_thread &) = delete;

    /// Makes the thread call `run`. Any thread; makes a system call only if the thread sleeps.
    void wake() noexcept;
    bool stopping() const noexcept { return stop_.load(std::memory_order_relaxed); }
    void *ctx() const noexcept { return ctx_; }

    /// stop() ends the thread, and start() starts it again. Between them the object lives on, and other threads may
    /// call wake(). Control thread; start() throws `error` as the constructor does.
    void start();
    void stop() noexcept;
    bool started() const noexcept { return handle_.joinable(); }

    /// park() keeps `run` from being called until unpark(), and returns when no call is under way. Wake-ups are kept
    /// until unpark(). Control thread.
    void park() noexcept;
    void unpark() noexcept;
    bool should_park() const noexcept { return park_.load(std::memory_order_relaxed) != park_state::running; }
    /// What is degraded: the refused priority, or empty. Constant once started.
    const std::string &warning() const noexcept { return warning_; }

private:
    enum class park_state : std::uint32_t { running, asked, parked };

    void main(std::uint32_t seen) noexcept;
    void sleep(std::uint32_t seen) noexcept;
    void park_here() noexcept;

    softnet_data &sd_;
    const std::string name_;
    const int fifo_priority_;
    const run_fn run_;
    void *const ctx_;
    /// Counts wake-ups. The sleeping thread waits for it to change, so that no wake-up is lost. release in wake();
    /// pairs with the acquire in sleep() and main().
    std::atomic<std::uint32_t> wakes_{0};
    std::atomic<bool> stop_{false}; ///< ordered by wakes_
    /// running -> asked -> parked -> running. The release in park_here() pairs with the acquire in park(), the release
    /// in unpark() with the acquire in park_here().
    std::atomic<park_state> park_{park_state::running};
    std::string warning_;
    std::thread handle_;
};

} // namespace halfpoll
