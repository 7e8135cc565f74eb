// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/softnet_data.hpp>

#include <atomic>
#include <string>
#include <thread>

namespace halfpoll
{

/// A further bottom-half thread of one CPU that sleeps until it is woken (the kernel's smpboot threads: `ksoftirqd/N`,
/// `irq_work/N`). Constructed and destroyed by the control thread, in mode `big` only.
class smpboot_thread
{
public:
    /// Runs on the thread, in no section, once at least for each wake() and once more when it is stopped.
    using run_fn = void (*)(softnet_data &, const smpboot_thread &) noexcept;

    /// Starts it as `<what>/<cpu>`. `fifo_priority` 0: SCHED_OTHER. Throws `error`.
    smpboot_thread(softnet_data &sd, const char *what, int fifo_priority, run_fn run);
    ~smpboot_thread();
    smpboot_thread(const smpboot_thread &) = delete;
    smpboot_thread &operator=(const smpboot_thread &) = delete;

    /// Any thread; a system call only if it sleeps.
    void wake() noexcept;
    bool stopping() const noexcept { return stop_.load(std::memory_order_relaxed); }
    /// What is degraded. Constant.
    const std::string &warning() const noexcept { return warning_; }

private:
    void main() noexcept;

    softnet_data &sd_;
    const run_fn run_;
    /// Counts wake-ups: a sleeper waits for it to change, so that none is lost. release in wake(); pairs with the
    /// acquire in main().
    std::atomic<std::uint32_t> wakes_{0};
    std::atomic<bool> stop_{false}; ///< ordered by wakes_
    std::string warning_;
    std::thread handle_;
};

} // namespace halfpoll
