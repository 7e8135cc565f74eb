// SPDX-License-Identifier: BSD-3-Clause
#include <halfpoll/napi.hpp>
#include <halfpoll/runtime_env.hpp>

#include "napi_internal.hpp"
#include "napi_thread.hpp"
#include "runtime/base/race_point.hpp"
#include "runtime/cpu/call_on.hpp"
#include "runtime/softirq/rcu_internal.hpp"
#include "runtime/thread/smpboot.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace halfpoll
{

namespace
{

using std::chrono::microseconds;

constexpr microseconds DISABLE_NAP_MIN{20}, DISABLE_NAP_MAX{200}, SYNCHRONIZE_NAP{1000};

/// Sets the rung that the instance starts on: `rung`, or a lower one if the CPU or the device cannot wait on it.
void choose_rung(softnet_data &sd, napi_struct &napi, wait_rung rung, const char *reason) noexcept
{
    const bool software = rung == wait_rung::interrupt && !napi.irq; // only napi_schedule() brings work, no device
    if (!sd.engine && !software) {
        rung = wait_rung::spin;
        reason = sd.env->no_wait_reason().c_str(); // lives as long as the runtime
    } else if (rung == wait_rung::interrupt && !software && napi.source.fd < 0) {
        rung = wait_rung::timed;
        reason = "the device has no fd to wait on";
    }
    napi.rung.store(rung, std::memory_order_relaxed);
    napi.rung_reason.store(reason, std::memory_order_relaxed);
}

/// Waits until the current owner, which has seen DISABLE, releases SCHED; then takes it. Sleeps.
void take_ownership(napi_struct &napi)
{
    microseconds nap = DISABLE_NAP_MIN;
    std::uint32_t val = napi.state.load(std::memory_order_relaxed);
    for (;;) {
        if (val & NAPIF_STATE_SCHED) {
            std::this_thread::sleep_for(nap);
            nap = std::min(nap * 2, DISABLE_NAP_MAX);
            val = napi.state.load(std::memory_order_relaxed);
            continue;
        }
        const std::uint32_t next = (val | NAPIF_STATE_SCHED) & ~NAPIF_STATE_PREFER_BUSY_POLL;
        // acq_rel; pairs with napi_release(): the last poll is over.
        if (napi.state.compare_exchange_weak(val, next, std::memory_order_acq_rel, std::memory_order_relaxed)) {
            return;
        }
    }
}

/// Removes a disabled instance from its home CPU: its event source and its thread end. Control thread.
void detach(napi_struct &napi)
{
    call_on(*napi.sd, [&](softnet_data &sd) {
        if (sd.engine && napi.source.fd >= 0) {
            sd.engine->remove(napi.source);
        }
    });
    if (napi.thread) {
        synchronize_rcu(*napi.sd->env->qsbr()); // another CPU may still be waking the thread
        delete std::exchange(napi.thread, nullptr);
    }
    std::erase(napi.sd->napis, &napi);
}

/// Starts a thread on the instance's new home, if it has one. If the system refuses, the instance goes on without.
void start_thread_anew(napi_struct &napi)
{
    try {
        napi_thread_start(napi, napi.config.threaded);
    } catch (const std::exception &e) {
        napi.config.threaded = napi_threaded::disabled;
        if (napi.sd->env->options().warn) {
            napi.sd->env->options().warn(std::string(napi.name) + " is not threaded any more: " + e.what());
        }
    }
}

/// Makes sure that nothing schedules the instance: masks its interrupt, disarms its event source, cancels its timers.
/// Home CPU.
void napi_quiesce(softnet_data &sd, napi_struct &napi) noexcept
{
    sd.timers.cancel(napi.timer);
    sd.timers.cancel(napi.park);
    napi_mask_irq(napi);
    if (sd.engine && napi.source.fd >= 0) {
        sd.engine->disarm(napi.source);
    }
    napi.spinning = false;
    napi.drained = true;
    napi.scheduled_by_irq = false;
}

} // namespace

void netif_napi_add(softnet_data &sd, napi_struct &napi, napi_poll_fn poll, wait_rung start_rung, const char *reason)
{
    softnet_data &home = serving(sd);
    napi.sd = &home;
    try {
        napi_thread_start(napi, napi.config.threaded);
    } catch (...) {
        napi.sd = nullptr;
        throw;
    }
    home.napis.push_back(&napi);
    napi.chosen = &sd;
    napi.poll = poll;
    napi.timer.function = napi_watchdog;
    napi.park.function = napi_park_expired;
    napi.source.fire = napi_event;
    napi.disabled = true;
    choose_rung(sd, napi, start_rung, reason);
    // release; pairs with the read-modify-write of napi_schedule_prep().
    napi.state.store(NAPIF_STATE_SCHED | NAPIF_STATE_LISTED, std::memory_order_release);
}

void napi_backlog_add(softnet_data &sd, napi_struct &napi, napi_poll_fn poll)
{
    std::snprintf(napi.name, sizeof napi.name, "backlog-%u", sd.cpu);
    if (sd.env->options().thread_backlog_napi) {
        napi.config.threaded = napi_threaded::enabled;
    }
    call_on(sd, [&](softnet_data &) { sd.backlog = &napi; });
    try {
        netif_napi_add(sd, napi, poll);
    } catch (...) {
        call_on(sd, [&](softnet_data &) { sd.backlog = nullptr; });
        throw;
    }
}

void netif_napi_del(napi_struct &napi)
{
    if (!napi.disabled) {
        throw error(std::string("NAPI instance ") + napi.name + " is deleted while enabled: call napi_disable() first");
    }
    if (softnet_data &chosen = *napi.chosen; chosen.backlog == &napi) {
        call_on(chosen, [&](softnet_data &) {
            chosen.backlog = nullptr;
            chosen.kick_idle_backlogs = nullptr;
            chosen.backlogs_unchecked = false;
        });
    }
    detach(napi);
    napi.state.fetch_and(~NAPIF_STATE_LISTED, std::memory_order_acq_rel); // pairs with napi_schedule_prep()
}

void napi_enable(napi_struct &napi)
{
    if (!napi.disabled) {
        throw error(std::string("NAPI instance ") + napi.name + " is enabled twice");
    }
    napi.disabled = false;
    // relaxed: this thread is the owner.
    napi.state.fetch_or(napi_threaded_bits(napi.config.threaded), std::memory_order_relaxed);
    // An event while disabled has left MISSED; the schedule below makes up for it. acq_rel; pairs with
    // napi_schedule_prep().
    napi.state.fetch_and(~(NAPIF_STATE_SCHED | NAPIF_STATE_MISSED), std::memory_order_acq_rel);
    napi_schedule(napi);
}

void napi_disable_announce(napi_struct &napi)
{
    if (napi.disabled) {
        throw error(std::string("NAPI instance ") + napi.name + " is disabled twice, or was never enabled");
    }
    napi.state.fetch_or(NAPIF_STATE_DISABLE, std::memory_order_acq_rel); // pairs with napi_schedule_prep()
}

void napi_disable(napi_struct &napi)
{
    napi_disable_announce(napi);
    HALFPOLL_RACE_POINT(napi_disable_announced, &napi);
    take_ownership(napi);
    call_on(*napi.sd, [&](softnet_data &sd) { napi_quiesce(sd, napi); });
    // This thread keeps ownership until napi_enable(), which suffices to keep others from scheduling. acq_rel; pairs
    // with napi_schedule_prep().
    napi.state.fetch_and(~(NAPIF_STATE_DISABLE | NAPI_THREADED_BITS), std::memory_order_acq_rel);
    napi.disabled = true;
}

void napi_move(napi_struct &napi, softnet_data &to)
{
    if (napi.sd == &to) {
        return;
    }
    const bool enabled = !napi.disabled;
    if (enabled) {
        napi_disable(napi);
    }
    detach(napi);
    to.napis.push_back(&napi);
    napi.sd = &to; // a context that schedules the instance after napi_enable() sees this
    start_thread_anew(napi);
    if (enabled) {
        napi_enable(napi);
    }
}

void napi_set_home(napi_struct &napi, softnet_data &home)
{
    napi_move(napi, serving(home));
    napi.chosen = &home;
}

void napi_synchronize(const napi_struct &napi)
{
    for (bool busy = !napi.disabled; busy;) {
        call_on(*napi.sd, [&](softnet_data &) {
            // A spinning instance is owned, but between two polls. Pairs with napi_release().
            busy = (napi.state.load(std::memory_order_acquire) & NAPIF_STATE_SCHED) && !napi.spinning;
        });
        if (busy) {
            std::this_thread::sleep_for(SYNCHRONIZE_NAP);
        }
    }
}

namespace
{

/// Changes the context that polls. Only the owner reads THREADED and hands the instance to the thread, so that this
/// function, which is the owner meanwhile, may change THREADED.
void change_thread(napi_struct &napi, napi_threaded mode)
{
    napi_thread_start(napi, mode); // first, since it may throw
    const bool enabled = !napi.disabled;
    if (enabled) {
        napi_disable(napi);
    }
    napi.config.threaded = mode;
    if (mode == napi_threaded::disabled) {
        napi_thread_stop(napi);
    }
    if (enabled) {
        napi_enable(napi);
    }
}

} // namespace

void napi_configure(napi_struct &napi, const napi_config &config)
{
    if (config.threaded != napi.config.threaded) {
        change_thread(napi, config.threaded);
    }
    call_on(*napi.sd, [&](softnet_data &) { napi.config = config; });
}

} // namespace halfpoll
