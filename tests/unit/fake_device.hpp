// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/napi.hpp>
#include <halfpoll/runtime.hpp>
#include <halfpoll/softnet_data.hpp>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <functional>
#include <sys/eventfd.h>
#include <thread>
#include <unistd.h>

namespace halfpoll
{

/// A device queue that consists of a packet counter and an eventfd. It behaves as virtio does: a packet that arrives
/// while the interrupt is masked never raises it.
struct fake_device {
    napi_struct napi;
    std::atomic<int> waiting{0};       ///< packets in the ring
    std::atomic<bool> unmasked{false}; ///< seq_cst with `waiting`, like a device's own barriers
    std::atomic<int> received{0};
    std::atomic<int> polling{0};           ///< pollers that are inside the poll function
    std::atomic<bool> overlapped{false};   ///< two pollers were inside at once
    std::atomic<bool> wrong_thread{false}; ///< was polled on another CPU than its home CPU
    std::atomic<bool> polled_unmasked{false};
    bool mute = false;                 ///< enable() succeeds, but the interrupt never fires
    std::atomic<bool> storm{false};    ///< fires whenever the interrupt is unmasked
    std::atomic<bool> starving{false}; ///< has no buffers: nothing arrives and nothing fires
    std::atomic<int> polls{0};
    int refuse_enable = 0;                 ///< -errno that enable() returns
    std::function<void()> after_last_look; ///< runs when the ring was found empty, before the completion

    fake_device()
    {
        napi.source.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        napi.source.kind = source_kind::multishot;
        napi.irq = &irq_ops;
        std::snprintf(napi.name, sizeof napi.name, "fake-0");
    }
    ~fake_device() { close(napi.source.fd); }
    fake_device(const fake_device &) = delete;
    fake_device &operator=(const fake_device &) = delete;

    /// A packet arrives. Any thread.
    void arrive(int n = 1)
    {
        waiting.fetch_add(n);
        if (unmasked.load() && !mute) {
            fire();
        }
    }
    void fire() const { eventfd_write(napi.source.fd, 1); }

    static fake_device &of(const napi_struct &n)
    {
        return *reinterpret_cast<fake_device *>(const_cast<napi_struct *>(&n)); // `napi` is the first member
    }

    static int poll(napi_struct &n, int budget) noexcept
    {
        fake_device &dev = of(n);
        if (dev.polling.fetch_add(1) != 0) {
            dev.overlapped = true;
        }
        if (this_softnet_data() != n.sd) {
            dev.wrong_thread = true;
        }
        if (dev.unmasked) {
            dev.polled_unmasked = true;
        }
        dev.polls.fetch_add(1);
        int work = 0;
        while (work < budget && dev.waiting.load() > 0) {
            dev.waiting.fetch_sub(1);
            ++work;
        }
        dev.received.fetch_add(work);
        if (work < budget && dev.after_last_look) {
            dev.after_last_look();
        }
        dev.polling.fetch_sub(1);
        if (work < budget && napi_complete_done(n, work)) {
            napi_unmask_irq(n);
        }
        return work;
    }

    static int enable(napi_struct &n) noexcept
    {
        if (of(n).refuse_enable == 0) {
            of(n).unmasked = true;
        }
        if (of(n).storm) {
            of(n).fire();
        }
        return of(n).refuse_enable;
    }
    static int disable(napi_struct &n) noexcept
    {
        of(n).unmasked = false;
        return 0;
    }
    static bool pending(const napi_struct &n) noexcept { return of(n).waiting.load() > 0; }
    static bool starved(const napi_struct &n) noexcept { return of(n).starving.load(); }
    static constexpr napi_irq_ops irq_ops{enable, disable, pending, starved};
};

/// Waits until `done` returns true, at most a minute, which even a busy machine does not need. Returns false at the
/// limit.
template <typename F>
bool eventually(F done)
{
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!done()) {
        if (std::chrono::steady_clock::now() > limit) {
            return false;
        }
        std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
    return true;
}

} // namespace halfpoll
