// SPDX-License-Identifier: BSD-3-Clause
#include "smpboot.hpp"

#include "bh_registration.hpp"
#include "runtime/trace/trace_emit.hpp"

#include <halfpoll/start_thread.hpp>

#include <future>
#include <optional>
#include <pthread.h>

namespace halfpoll
{

namespace
{

constexpr std::size_t THREAD_NAME_MAX = 15;

} // namespace

smpboot_thread::smpboot_thread(softnet_data &sd, std::string name, int fifo_priority, run_fn run, void *ctx)
    : sd_(sd), name_(std::move(name)), fifo_priority_(fifo_priority), run_(run), ctx_(ctx)
{
    start();
}

smpboot_thread::~smpboot_thread() { stop(); }

void smpboot_thread::start()
{
    stop_.store(false, std::memory_order_relaxed);                     // ordered by the start of the new thread
    const std::uint32_t seen = wakes_.load(std::memory_order_relaxed); // no wake-up from here on is lost
    auto started = std::make_shared<std::promise<void>>();
    std::future<void> ready = started->get_future();
    handle_ = start_thread(name_, [this, started, seen] {
        std::optional<bh_registration> registered;
        try {
            pthread_setname_np(pthread_self(), name_.substr(0, THREAD_NAME_MAX).c_str());
            registered.emplace(sd_, bh_registration::role::further);
            warning_ = set_fifo(fifo_priority_, name_);
        } catch (...) {
            started->set_exception(std::current_exception());
            return;
        }
        started->set_value();
        main(seen);
    });
    try {
        ready.get();
    } catch (...) {
        handle_.join();
        throw;
    }
    sd_.further_threads.push_back(this);
}

void smpboot_thread::stop() noexcept
{
    if (handle_.joinable()) {
        std::erase(sd_.further_threads, this);
        stop_.store(true, std::memory_order_relaxed);
        unpark();
        handle_.join();
    }
}

void smpboot_thread::wake() noexcept
{
    if (trace_enabled()) {
        trace_sched_wakeup(name_.c_str(), fifo_priority_);
    }
    wakes_.fetch_add(1, std::memory_order_release); // pairs with the acquire in main()
    wakes_.notify_one();
}

void smpboot_thread::park() noexcept
{
    park_.store(park_state::asked, std::memory_order_relaxed); // ordered by wakes_
    wake();
    park_.wait(park_state::asked, std::memory_order_acquire); // pairs with the release in park_here()
}

void smpboot_thread::unpark() noexcept
{
    park_.store(park_state::running, std::memory_order_release); // pairs with the acquire in park_here()
    park_.notify_all();
    wake(); // `run` may have left work undone when it was asked to park
}

void smpboot_thread::park_here() noexcept
{
    park_state asked = park_state::asked;
    // release: publishes what `run` did; pairs with the acquire in park(). Fails if the thread was unparked meanwhile.
    if (park_.compare_exchange_strong(asked, park_state::parked, std::memory_order_release,
                                      std::memory_order_relaxed)) {
        park_.notify_all();
        park_.wait(park_state::parked, std::memory_order_acquire); // pairs with the release in unpark()
    }
}

/// Sleeps until the number of wake-ups differs from `seen`.
void smpboot_thread::sleep(std::uint32_t seen) noexcept
{
    if (wakes_.load(std::memory_order_relaxed) != seen) {
        return;
    }
    if (trace_enabled()) {
        trace_sched_block();
    }
    wakes_.wait(seen, std::memory_order_acquire); // pairs with the release in wake()
    if (trace_enabled()) {
        trace_sched_run();
    }
}

void smpboot_thread::main(std::uint32_t seen) noexcept
{
    bool last = false;
    while (!last) {
        sleep(seen);
        seen = wakes_.load(std::memory_order_acquire);
        if (should_park()) {
            park_here();
        }
        last = stopping();
        run_(sd_, *this);
    }
}

} // namespace halfpoll
