// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/pi_lock.hpp>
#include <halfpoll/runtime_env.hpp>
#include <halfpoll/softnet_data.hpp>
#include <halfpoll/wait_engine.hpp>

#include "runtime/softirq/deferred_work.hpp"
#include "runtime/thread/smpboot.hpp"

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

namespace halfpoll
{

/// The doorbell of a CPU, as a source of its wait engine.
struct doorbell_source : wait_source {
    softnet_data *sd = nullptr;
};

/// The state of a CPU's own thread: the one that the control thread requests, and the current one.
enum class cpu_state : std::uint8_t {
    running, ///< runs its loop
    held,    ///< offline: runs nothing, and leaves calls on its queue
    parked,  ///< offline: passes calls on to `sd.adopter`, else sleeps
    stopped, ///< ends
};

/// A runtime CPU: its state, and the thread that runs its bottom half.
struct bh_thread {
    softnet_data sd;
    deferred_work deferred; ///< `sd.deferred`
    cpu_options options;    ///< as they took effect, once started
    doorbell_source doorbell;
    /// The requested state. Release in bh_thread_request() and bh_thread_stop(); pairs with the acquire in requested().
    std::atomic<cpu_state> wish{cpu_state::running};
    cpu_state requested() const noexcept { return wish.load(std::memory_order_acquire); }
    /// The current state. Release in cpu_offline_loop(); pairs with the acquire in bh_thread_request().
    std::atomic<cpu_state> state{cpu_state::running};
    std::string wait_error; ///< why `sd.engine` is null. Constant once started
    std::string warning;    ///< what is degraded. Constant once started
    std::mutex call_mutex;  ///< with `call_done`: completion of call_on()
    std::condition_variable call_done;
    std::thread handle;
    // Not in mode `exclusive`:
    pi_lock lock{"softnet_data"};              ///< `sd.lock`
    std::unique_ptr<smpboot_thread> ksoftirqd; ///< `sd.ksoftirqd`
    std::unique_ptr<smpboot_thread> irq_workd; ///< `deferred.irq_works.thread`
};

/// Starts the thread, and returns when it is about to enter its loop. Control thread. Throws `error` if the system
/// refuses the doorbell's eventfd, a thread, an lcore id or the affinity.
void bh_thread_start(bh_thread &t, runtime_env &env, unsigned cpu);
/// Stops and joins the CPU's threads, and closes the doorbell; does nothing if they never started. Control thread.
void bh_thread_stop(bh_thread &t) noexcept;

/// Requests another state of the thread, and returns when the thread is in it. Control thread.
void bh_thread_request(bh_thread &t, cpu_state wish) noexcept;
/// The loop of a CPU's own thread while the CPU is offline: sleeps, and passes on the calls that come. Returns when the
/// thread is to run again or to end. On that thread, in no section.
void cpu_offline_loop(bh_thread &t) noexcept;

/// One turn of the main loop: events, remote work, timers, softirqs, quiescent state. On the CPU's own thread, in a
/// section, not in a softirq, without a reference to RCU-protected data.
void cpu_turn(softnet_data &sd) noexcept;
/// The main loop in mode `exclusive`: turns until the state `stopped` is requested, and sleep when idle.
void cpu_loop(bh_thread &t) noexcept;
/// The main loop in modes `big` and `nested`: each turn is a section, and other threads of the CPU may enter theirs
/// between two turns.
void cpu_loop_locked(bh_thread &t) noexcept;

} // namespace halfpoll
