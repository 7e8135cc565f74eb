// SPDX-License-Identifier: BSD-3-Clause
#include "bh_thread.hpp"

#include "runtime/softirq/bh_work_internal.hpp"
#include "runtime/softirq/irq_work_internal.hpp"
#include "runtime/softirq/ksoftirqd.hpp"
#include "runtime/softirq/local_bh.hpp"
#include "runtime/softirq/rcu_internal.hpp"
#include "runtime/softirq/tasklet_internal.hpp"
#include "runtime/thread/bh_registration.hpp"

#include <halfpoll/start_thread.hpp>

#include <algorithm>
#include <cerrno>
#include <future>
#include <optional>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <utility>

namespace halfpoll
{

namespace
{

/// Active timers of one CPU that start() handles without allocating. There are several per queue, and no CPU has
/// hundreds of queues.
constexpr std::size_t TIMERS_RESERVED = 1024;

void doorbell_rang(wait_source &source, int) noexcept
{
    stat_add(static_cast<doorbell_source &>(source).sd->stats.doorbells);
}

void make_engine(bh_thread &t, std::optional<wait_engine> &engine)
{
    if (!t.sd.env->options().interrupts) {
        t.wait_error = "interrupts are switched off";
        return;
    }
    try {
        engine.emplace();
    } catch (const std::exception &e) {
        t.wait_error = e.what();
        return;
    }
    t.doorbell.sd = &t.sd;
    t.doorbell.fd = t.sd.doorbell_fd;
    t.doorbell.kind = source_kind::read8;
    t.doorbell.fire = doorbell_rang;
    engine->arm(t.doorbell);
    t.sd.engine = &*engine;
}

/// True if the thread can only spin and shares its logical CPU with other runtime CPUs: at a priority of its own it
/// would keep them from running.
bool starves_others(const bh_thread &t)
{
    const runtime_env &env = *t.sd.env;
    const auto beside = [&](const cpu_options &other) { return other.affinity == t.options.affinity; };
    return !t.sd.engine && env.options().exclusion == exclusion_mode::nested &&
           std::ranges::count_if(env.options().cpus, beside) > 1;
}

/// Sets the thread's priority. Returns why it runs without the one it was given, or an empty string.
std::string take_priority(bh_thread &t)
{
    const int priority = std::exchange(t.options.fifo_priority, 0);
    if (priority != 0 && starves_others(t)) {
        return t.options.name + " runs without SCHED_FIFO " + std::to_string(priority) +
               ": it can only spin, which would keep the other threads of its CPU from running";
    }
    const std::string warning = set_fifo(priority, t.options.name);
    t.options.fifo_priority = warning.empty() ? priority : 0;
    return warning;
}

void bh_thread_main(bh_thread &t, std::promise<void> &started)
{
    std::optional<bh_registration> registered;
    std::optional<wait_engine> engine;
    try {
        pthread_setname_np(pthread_self(), t.options.name.c_str());
        registered.emplace(t.sd, bh_registration::role::own);
        t.sd.timers.reserve(TIMERS_RESERVED);
        make_engine(t, engine);
        if (const std::string warning = take_priority(t); !warning.empty()) {
            t.warning = warning;
        }
    } catch (...) {
        started.set_exception(std::current_exception());
        return;
    }
    started.set_value();
    if (has_section_lock(t.sd)) {
        cpu_loop_locked(t);
    } else {
        cpu_loop(t);
    }
    if (engine) {
        engine->remove(t.doorbell);
    }
}

/// Raises the softirqs that other threads have left for `arg`, the CPU that was asked. On that CPU or its stand-in.
void raise_remote_softirqs(softnet_data &sd, void *arg) noexcept
{
    // acq_rel; pairs with the read-modify-write in raise_softirq().
    sd.softirq_pending |= static_cast<softnet_data *>(arg)->remote_softirqs.exchange(0, std::memory_order_acq_rel);
}

/// Starts `ksoftirqd/N` and `irq_work/N`. Not in mode `exclusive`; before the CPU's own thread starts, since it reads
/// the pointers without synchronisation.
void start_further_threads(bh_thread &t)
{
    const std::string cpu = std::to_string(t.sd.cpu);
    t.sd.lock = &t.lock;
    if (t.sd.env->options().ksoftirqd) {
        t.ksoftirqd = std::make_unique<smpboot_thread>(t.sd, "ksoftirqd/" + cpu, 0, run_ksoftirqd);
        t.sd.ksoftirqd = t.ksoftirqd.get();
    }
    if (t.sd.env->options().irq_workd) {
        t.irq_workd = std::make_unique<smpboot_thread>(t.sd, "irq_work/" + cpu, 1, run_irq_workd);
        t.deferred.irq_works.thread = t.irq_workd.get();
        t.warning = t.irq_workd->warning();
    }
}

void bh_thread_wish(bh_thread &t, cpu_state wish) noexcept
{
    t.wish.store(wish, std::memory_order_release); // pairs with the acquire in requested()
    kick_cpu(t.sd);
}

} // namespace

void bh_thread_request(bh_thread &t, cpu_state wish) noexcept
{
    bh_thread_wish(t, wish);
    for (cpu_state now; (now = t.state.load(std::memory_order_acquire)) != wish;) { // pairs with cpu_offline_loop()
        t.state.wait(now, std::memory_order_acquire);
    }
}

void bh_thread_start(bh_thread &t, runtime_env &env, unsigned cpu)
{
    t.sd.cpu = cpu;
    t.sd.thread = &t;
    t.sd.env = &env;
    t.sd.deferred = &t.deferred;
    t.sd.now = env.now();
    t.sd.doorbell_fd = eventfd(0, EFD_CLOEXEC); // blocking: an io_uring read of a non-blocking eventfd does not wait
    if (t.sd.doorbell_fd < 0) {
        throw_errno(errno, "no eventfd for the doorbell of runtime CPU " + std::to_string(cpu));
    }
    irq_work_init(t.sd);
    bh_work_init(t.sd);
    tasklet_init(t.sd);
    rcu_init(t.sd);
    t.sd.remote_softirqs_call.func = raise_remote_softirqs;
    t.sd.remote_softirqs_call.arg = &t.sd;
    if (env.options().exclusion != exclusion_mode::exclusive) {
        start_further_threads(t);
    }
    auto started = std::make_shared<std::promise<void>>();
    std::future<void> ready = started->get_future();
    t.handle = start_thread("runtime CPU " + std::to_string(cpu), [&t, started] { bh_thread_main(t, *started); });
    ready.get();
}

void bh_thread_stop(bh_thread &t) noexcept
{
    if (t.handle.joinable()) {
        bh_thread_wish(t, cpu_state::stopped);
        t.handle.join();
    }
    t.irq_workd.reset(); // before ksoftirqd: it may raise softirqs until it ends
    t.ksoftirqd.reset();
    if (t.sd.doorbell_fd >= 0) {
        close(t.sd.doorbell_fd);
        t.sd.doorbell_fd = -1;
    }
}

} // namespace halfpoll
