// SPDX-License-Identifier: BSD-3-Clause
#include "napi_thread.hpp"

#include <halfpoll/runtime_env.hpp>

#include "napi_internal.hpp"
#include "runtime/base/race_point.hpp"
#include "runtime/thread/smpboot.hpp"
#include "runtime/trace/trace_emit.hpp"

#include <sched.h>
#include <string>

namespace halfpoll
{

const char *to_string(napi_threaded mode) noexcept
{
    switch (mode) {
    case napi_threaded::disabled:
        return "disabled";
    case napi_threaded::enabled:
        return "enabled";
    case napi_threaded::busy_poll:
        break;
    }
    return "busy-poll";
}

namespace
{

/// Sets IN_BUSY_POLL, by which a completion is refused, in mode busy_poll unless napi_disable() waits for ownership;
/// else clears it. Before each poll.
void set_busy_poll(napi_struct &napi) noexcept
{
    const std::uint32_t val = napi.state.load(std::memory_order_relaxed);
    const bool busy = (val & NAPIF_STATE_THREADED_BUSY_POLL) && !(val & NAPIF_STATE_DISABLE);
    if (busy == ((val & NAPIF_STATE_IN_BUSY_POLL) != 0)) {
        return;
    }
    if (busy) {
        napi.state.fetch_or(NAPIF_STATE_IN_BUSY_POLL, std::memory_order_relaxed); // this thread is the owner
    } else {
        napi.state.fetch_and(~NAPIF_STATE_IN_BUSY_POLL, std::memory_order_relaxed);
    }
}

/// Polls once. False: the poll found no packet, and the instance is to be polled again at once.
bool threaded_poll(softnet_data &sd, napi_struct &napi) noexcept
{
    bh_section bh(sd); // its end serves the softirqs that the poll raised
    set_busy_poll(napi);
    const ktime_t begun = bh->now;
    const int work = napi_call_poll(napi, napi.weight);
    if (trace_enabled()) {
        trace_napi_poll(napi, work, napi.weight);
    }
    stat_add(bh->stats.processed, static_cast<unsigned>(work));
    if (work > 0) {
        bh->now = sd.env->now();
        stat_add(bh->stats.busy, static_cast<std::uint64_t>(bh->now - begun));
    }
    if (work >= napi.weight) {
        napi_poll_full(napi, work);
        return true;
    }
    bh->stats.behind_since.store(0, std::memory_order_relaxed);
    // The completion was refused by IN_BUSY_POLL: the instance spins.
    if (!napi.completed && (napi.state.load(std::memory_order_relaxed) & NAPIF_STATE_IN_BUSY_POLL)) {
        napi.spinning = true;
    }
    return work > 0 || !napi.spinning;
}

/// True if this thread owns the instance. SCHED alone does not show that, since a busy poller or napi_disable() may
/// have set it.
bool thread_owns(const napi_struct &napi) noexcept
{
    // acquire; pairs with the release in napi_thread_schedule().
    const bool owns = napi.state.load(std::memory_order_acquire) & NAPIF_STATE_SCHED_THREADED;
    if (!owns) {
        HALFPOLL_RACE_POINT(napi_thread_idle, const_cast<napi_struct *>(&napi));
    }
    return owns;
}

/// Empty polls in a row before the thread yields. They take some microseconds, so that a gap between two bursts costs
/// no system call.
constexpr unsigned SPIN_POLLS = 64;

void run_napi_thread(softnet_data &sd, const smpboot_thread &thread) noexcept
{
    napi_struct &napi = *static_cast<napi_struct *>(thread.ctx());
    unsigned empty = 0; // polls in a row
    while (thread_owns(napi) && !thread.should_park()) {
        if (threaded_poll(sd, napi)) {
            empty = 0;
        } else if (++empty == SPIN_POLLS) {
            sched_yield(); // a spinning thread lets others run; under load the scheduler shares out the CPU
            empty = 0;
        }
    }
}

std::string thread_name(const napi_struct &napi)
{
    if (&napi == napi.sd->backlog) {
        return "backlog_napi/" + std::to_string(napi.sd->cpu);
    }
    return napi.thread_is_napi ? std::string("napi/") + napi.name : napi.name;
}

} // namespace

void napi_thread_start(napi_struct &napi, napi_threaded mode)
{
    if (mode == napi_threaded::disabled) {
        return;
    }
    if (napi.sd->env->options().exclusion == exclusion_mode::exclusive) {
        throw error("NAPI instance " + std::string(napi.name) + " cannot be threaded: its thread would be a second " +
                    "bottom-half thread on runtime CPU " + std::to_string(napi.sd->cpu) +
                    ", which exclusion mode exclusive does not protect: use mode big or nested");
    }
    if (!napi.thread) {
        const runtime_options &options = napi.sd->env->options();
        napi.thread =
            new smpboot_thread(*napi.sd, thread_name(napi), options.napi_fifo_priority, run_napi_thread, &napi);
        if (!napi.thread->warning().empty() && options.warn) {
            options.warn(napi.thread->warning());
        }
    } else if (!napi.thread->started()) {
        napi.thread->start();
    }
}

void napi_thread_stop(napi_struct &napi) noexcept
{
    if (napi.thread) {
        napi.thread->stop();
    }
}

std::uint32_t napi_threaded_bits(napi_threaded mode) noexcept
{
    switch (mode) {
    case napi_threaded::disabled:
        return 0;
    case napi_threaded::enabled:
        return NAPIF_STATE_THREADED;
    case napi_threaded::busy_poll:
        break;
    }
    return NAPI_THREADED_BITS;
}

void napi_thread_schedule(napi_struct &napi) noexcept
{
    // Pairs with the acquire in thread_owns().
    napi.state.fetch_or(NAPIF_STATE_SCHED_THREADED, std::memory_order_release);
    HALFPOLL_RACE_POINT(napi_thread_given, &napi);
    napi.thread->wake();
}

} // namespace halfpoll
