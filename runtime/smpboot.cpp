// SPDX-License-Identifier: BSD-3-Clause
#include "smpboot.hpp"

#include "local_bh.hpp"

#include <future>
#include <optional>
#include <pthread.h>

namespace halfpoll
{

smpboot_thread::smpboot_thread(softnet_data &sd, const char *what, int fifo_priority, run_fn run) : sd_(sd), run_(run)
{
    const std::string name = std::string(what) + "/" + std::to_string(sd.cpu);
    auto started = std::make_shared<std::promise<void>>();
    std::future<void> ready = started->get_future();
    handle_ = std::thread([this, started, name, fifo_priority] {
        std::optional<bh_registration> registered;
        try {
            pthread_setname_np(pthread_self(), name.c_str());
            registered.emplace(sd_, bh_registration::role::further);
            warning_ = set_fifo(fifo_priority, name);
        } catch (...) {
            started->set_exception(std::current_exception());
            return;
        }
        started->set_value();
        main();
    });
    try {
        ready.get();
    } catch (...) {
        handle_.join();
        throw;
    }
}

smpboot_thread::~smpboot_thread()
{
    stop_.store(true, std::memory_order_relaxed);
    wake();
    handle_.join();
}

void smpboot_thread::wake() noexcept
{
    wakes_.fetch_add(1, std::memory_order_release); // pairs with the acquire in main()
    wakes_.notify_one();
}

void smpboot_thread::main() noexcept
{
    std::uint32_t seen = 0;
    bool last = false;
    while (!last) {
        wakes_.wait(seen, std::memory_order_acquire); // pairs with the release in wake()
        seen = wakes_.load(std::memory_order_acquire);
        last = stopping();
        run_(sd_, *this);
    }
}

} // namespace halfpoll
