// SPDX-License-Identifier: BSD-3-Clause
//
// CPUs go offline and online while packets flow:
//
//   cpu_down: steps' offline -> NAPI instances move -> threads park -> held -> adopt(): the rest moves -> parked
//             -> steps' dead
//   cpu_up:   steps' prepare -> held -> its timers return -> running -> threads, NAPI instances -> steps' online
//
// A producer that publishes work for a CPU does not check whether the CPU is online. The parked thread of an offline
// CPU passes the work on.
#include "runtime_thread.hpp"

#include <halfpoll/bh_work.hpp>

#include "runtime/cpu/call_on.hpp"
#include "runtime/napi/napi_internal.hpp"
#include "runtime/softirq/bh_work_internal.hpp"
#include "runtime/softirq/irq_work_internal.hpp"
#include "runtime/softirq/rcu_internal.hpp"
#include "runtime/softirq/tasklet_internal.hpp"

#include <algorithm>
#include <utility>

namespace halfpoll
{

namespace
{

/// Moves everything that is queued on `from`, whose thread is held, except its calls. On `to`, between polls.
void adopt(softnet_data &from, softnet_data &to)
{
    irq_work_adopt(from, to);
    rcu_adopt(from, to);
    tasklet_adopt(from, to);
    bh_work_adopt(from, to);
    to.softirq_pending |= std::exchange(from.softirq_pending, 0);
    from.timers.lend_to(to.timers);
}

/// Waits until the BH work that was queued on a CPU before has run. The items of one context never run at the same
/// time, also if the context moves to another CPU.
void bh_work_barrier(softnet_data &sd)
{
    bh_work end, highpri_end;
    end.func = highpri_end.func = [](bh_work &) noexcept {};
    queue_bh_work(sd, end);
    queue_bh_highpri_work(sd, highpri_end);
    bh_work_flush(end);
    bh_work_flush(highpri_end);
}

} // namespace

bool runtime::cpu_online(unsigned cpu) const noexcept
{
    return threads_[cpu]->sd.online.load(std::memory_order_relaxed);
}

unsigned runtime::num_online_cpus() const noexcept
{
    unsigned online = 0;
    for (unsigned cpu = 0; cpu < cpus(); ++cpu) {
        online += cpu_online(cpu);
    }
    return online;
}

unsigned runtime::served_by(unsigned cpu) const noexcept { return serving(threads_[cpu]->sd).cpu; }

unsigned runtime::cpuhp_setup_state(cpuhp_step step)
{
    steps_.push_back({++last_step_, std::move(step)});
    return last_step_;
}

void runtime::cpuhp_remove_state(unsigned handle) noexcept
{
    std::erase_if(steps_, [handle](const registered_step &r) { return r.handle == handle; });
}

/// Throws `error` if the CPU does not exist or is not in the state `online`, which the caller wants to change.
void runtime::check_cpu(unsigned cpu, bool online) const
{
    if (cpu >= cpus()) {
        throw error("there is no runtime CPU " + std::to_string(cpu) + ": they are numbered 0 to " +
                    std::to_string(cpus() - 1));
    }
    if (cpu_online(cpu) != online) {
        throw error("runtime CPU " + std::to_string(cpu) + " is " + (online ? "offline" : "online") + " already");
    }
}

bool runtime::takes_over(unsigned cpu) const noexcept { return cpu_online(cpu) && !options_.cpus[cpu].dedicated; }

/// The CPU that becomes the stand-in of `cpu`: one on the same logical CPU, else the next one. `cpu` itself if there is
/// none.
unsigned runtime::survivor_of(unsigned cpu) const noexcept
{
    unsigned next = cpu;
    for (unsigned i = 1; i < cpus(); ++i) {
        const unsigned other = (cpu + i) % cpus();
        if (!takes_over(other)) {
            continue;
        }
        if (first_on_core(other) == first_on_core(cpu)) {
            return other;
        }
        if (next == cpu) {
            next = other;
        }
    }
    return next;
}

/// Calls `online` of the components from number `from` to `to` - 1, which were offline already when another one
/// refused. Returns their errors as the end of a message.
std::string runtime::cpuhp_online_again(unsigned cpu, std::size_t from, std::size_t to)
{
    std::string problems;
    for (std::size_t i = from; i < to; ++i) {
        try {
            if (steps_[i].step.online) {
                steps_[i].step.online(cpu);
            }
        } catch (const std::exception &e) {
            problems += "; " + steps_[i].step.name + " is not online again: " + e.what();
        }
    }
    return problems;
}

/// Calls the `offline` functions of the first `steps` components. If one throws, calls `online` of the components that
/// were offline already, and throws `error` with that reason.
void runtime::cpuhp_offline(unsigned cpu, std::size_t steps)
{
    for (std::size_t i = steps; i-- > 0;) {
        try {
            if (steps_[i].step.offline) {
                steps_[i].step.offline(cpu);
            }
        } catch (const std::exception &e) {
            threads_[cpu]->sd.online.store(true, std::memory_order_relaxed);
            throw error("runtime CPU " + std::to_string(cpu) + " stays online: " + steps_[i].step.name + ": " +
                        e.what() + cpuhp_online_again(cpu, i + 1, steps));
        }
    }
}

/// Keeps new work from a CPU, and has the first `steps` components, which are online, leave it. If that is not
/// possible, throws `error`, and the CPU stays online.
void runtime::withdraw(unsigned cpu, std::size_t steps)
{
    softnet_data &sd = threads_[cpu]->sd;
    sd.online.store(false, std::memory_order_seq_cst); // before the check below: pairs with cpu_attachment()
    try {
        if (sd.attachments.load(std::memory_order_seq_cst) != 0) {
            throw error("runtime CPU " + std::to_string(cpu) + " stays online: threads are attached to it");
        }
        cpuhp_offline(cpu, steps);
    } catch (...) {
        sd.online.store(true, std::memory_order_relaxed);
        throw;
    }
}

/// Moves to the stand-in what is attached to the CPU, and parks the CPU's threads.
void runtime::take_down(unsigned cpu)
{
    thread &t = *threads_[cpu];
    softnet_data &to = threads_[survivor_of(cpu)]->sd;
    for (napi_struct *napi : std::vector(t.sd.napis)) {
        napi_move(*napi, to);
    }
    for (smpboot_thread *further : t.sd.further_threads) {
        further->park();
    }
    bh_thread_request(t, cpu_state::held);
    call_on(to.cpu, [&](softnet_data &) { adopt(t.sd, to); });
    t.sd.adopter = &to;
    bh_thread_request(t, cpu_state::parked);
}

void runtime::cpu_down(unsigned cpu)
{
    check_cpu(cpu, true);
    if (survivor_of(cpu) == cpu) {
        throw error("runtime CPU " + std::to_string(cpu) + " is the last one online and has to stay" +
                    (num_online_cpus() > 1 ? ": the others are there for single queues only" : ""));
    }
    withdraw(cpu, steps_.size());
    take_down(cpu);
    for (auto step = steps_.rbegin(); step != steps_.rend(); ++step) {
        if (step->step.dead) {
            step->step.dead(cpu);
        }
    }
}

/// Returns when the calls that an offline CPU has passed on have run. Its thread is held, and passes no more on.
void runtime::drain_calls_of(unsigned cpu)
{
    // A batch runs newest first, so only when the second call runs have all calls from before the first one run. Each
    // further offline CPU that calls pass through needs one more.
    for (const softnet_data *sd = &threads_[cpu]->sd; sd; sd = sd->adopter) {
        call_on(threads_[cpu]->sd.adopter->cpu, [](softnet_data &) {});
    }
}

void runtime::bring_up(unsigned cpu)
{
    thread &t = *threads_[cpu];
    bh_thread_request(t, cpu_state::held);
    drain_calls_of(cpu);
    bool bh_works = false;
    call_on(served_by(cpu), [&](softnet_data &by) {
        bh_works = bh_work_queued(by); // between softirqs, where no item is running
        t.sd.timers.take_back();
    });
    if (bh_works) {
        bh_work_barrier(threads_[served_by(cpu)]->sd);
    }
    t.sd.adopter = nullptr;
    bh_thread_request(t, cpu_state::running);
    for (smpboot_thread *further : t.sd.further_threads) {
        further->unpark();
    }
    t.sd.online.store(true, std::memory_order_seq_cst);
    for (const auto &other : threads_) {
        for (napi_struct *napi : std::vector(other->sd.napis)) {
            if (napi->chosen == &t.sd) {
                napi_move(*napi, t.sd);
            }
        }
    }
}

void runtime::cpu_up(unsigned cpu)
{
    check_cpu(cpu, false);
    std::size_t prepared = 0;
    std::size_t online = 0;
    try {
        for (; prepared < steps_.size(); ++prepared) {
            if (steps_[prepared].step.prepare) {
                steps_[prepared].step.prepare(cpu);
            }
        }
        bring_up(cpu);
        for (; online < steps_.size(); ++online) {
            if (steps_[online].step.online) {
                steps_[online].step.online(cpu);
            }
        }
    } catch (const std::exception &e) {
        const std::size_t at = prepared < steps_.size() ? prepared : online;
        const std::string failed = (at < steps_.size() ? steps_[at].step.name + ": " : "") + e.what();
        if (cpu_online(cpu)) {
            try {
                withdraw(cpu, online);
            } catch (const std::exception &refusal) {
                throw error(failed + "; " + refusal.what());
            }
            take_down(cpu);
        }
        for (; prepared-- > 0;) {
            if (steps_[prepared].step.dead) {
                steps_[prepared].step.dead(cpu);
            }
        }
        throw error("runtime CPU " + std::to_string(cpu) + " stays offline: " + failed);
    }
}

} // namespace halfpoll
