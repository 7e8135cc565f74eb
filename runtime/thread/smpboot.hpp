// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/softnet_data.hpp>

#include <atomic>
#include <string>
#include <thread>

namespace halfpoll
{

/// A further bottom-half thread of one CPU that sleeps until it is woken (the kernel's smpboot threads: `ksoftirqd/N`,
/// `irq_work/N`, `backlog_napi/N`; also `napi/<name>`). Constructed and destroyed by the control thread, in mode `big`
/// only.
class smpboot_thread
{
public:
    /// Runs on the thread, in no section, once at least for each wake() and once more when it is stopped. Returns soon
    /// if should_park().
    using run_fn = void (*)(softnet_data &, const smpboot_thread &) noexcept;

    /// Starts it under that name (the system shows 15 bytes of it). `fifo_priority` 0: SCHED_OTHER. `ctx` is for `run`.
    /// Throws `error`.
    smpboot_thread(softnet_data &sd, std::string name, int fifo_priority, run_fn run, void *ctx = nullptr);
    ~smpboot_thread();
    smpboot_thread(const smpboot_thread &) = delete;
    smpboot_thread &operator=(const smpboot_thread &) = delete;

    /// Any thread; a system call only if it sleeps.
    void wake() noexcept;
    bool stopping() const noexcept { return stop_.load(std::memory_order_relaxed); }
    void *ctx() const noexcept { return ctx_; }

    /// Ends the thread, and starts it again; the object, which others may still wake, stays. Control thread; start()
    /// throws `error`.
    void start();
    void stop() noexcept;
    bool started() const noexcept { return handle_.joinable(); }

    /// Keeps `run` from being called until unpark(): returns when no call is under way. Wake-ups are kept for then.
    /// Control thread.
    void park() noexcept;
    void unpark() noexcept;
    bool should_park() const noexcept { return park_.load(std::memory_order_relaxed) != park_state::running; }
    /// What is degraded. Constant.
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
    /// Counts wake-ups: a sleeper waits for it to change, so that none is lost. release in wake(); pairs with the
    /// acquire in main().
    std::atomic<std::uint32_t> wakes_{0};
    std::atomic<bool> stop_{false}; ///< ordered by wakes_
    /// running -> asked -> parked -> running. release in park_here(); pairs with the acquire in park(). unpark()
    /// releases to park_here().
    std::atomic<park_state> park_{park_state::running};
    std::string warning_;
    std::thread handle_;
};

} // namespace halfpoll
