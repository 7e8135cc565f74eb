// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/runtime.hpp>
#include <halfpoll/wait_engine.hpp>

#include "runtime/thread/smpboot.hpp"

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

namespace halfpoll
{

/// The doorbell of a CPU as its wait engine sees it.
struct doorbell_source : wait_source {
    softnet_data *sd = nullptr;
};

/// What the control thread wants of a CPU's own thread, and what that does.
enum class cpu_state : std::uint8_t {
    running, ///< its loop
    held,    ///< offline: stands still; calls wait
    parked,  ///< offline: passes calls on to `sd.adopter`
    stopped, ///< ends
};

/// A runtime CPU: its state, and the thread that runs its bottom half.
struct bh_thread {
    softnet_data sd;
    cpu_options options; ///< as they came into force, once started
    doorbell_source doorbell;
    /// Release in bh_thread_request(); pairs with the acquire in the main loop and in cpu_offline_loop().
    std::atomic<cpu_state> wish{cpu_state::running};
    std::atomic<cpu_state> state{cpu_state::running}; ///< release of the thread; pairs with bh_thread_request()
    std::string wait_error;                           ///< why `sd.engine` is null. Constant once started
    std::string warning;                              ///< what is degraded. Constant once started
    std::mutex call_mutex;                            ///< with `call_done`: ends of runtime::call_on()
    std::condition_variable call_done;
    std::thread handle;
    // Mode `big`:
    pi_lock lock{"softnet_data"};              ///< `sd.lock`
    std::unique_ptr<smpboot_thread> ksoftirqd; ///< `sd.ksoftirqd`
    std::unique_ptr<smpboot_thread> irq_workd; ///< `sd.irq_works.thread`
};

/// Starts the thread and returns when it is idle. Throws `error`. Control thread.
void bh_thread_start(bh_thread &t, runtime &rt, unsigned cpu);
/// Stops and joins it; nothing to do if it never started. Control thread.
void bh_thread_stop(bh_thread &t) noexcept;

/// Brings its thread into another state, and returns when it is there. Control thread.
void bh_thread_request(bh_thread &t, cpu_state wish) noexcept;
/// While the CPU is offline: passes on what comes for it, and sleeps. Returns when it runs again, or ends. On its
/// thread, in no section.
void cpu_offline_loop(bh_thread &t) noexcept;

/// One turn of the main loop: events, remote work, timers, softirqs, quiescent state. On the CPU's thread, not in a
/// softirq, holding no reference to RCU-protected data.
void cpu_turn(softnet_data &sd) noexcept;
/// Something is to be polled or served now. Same context.
inline bool cpu_has_work(const softnet_data &sd) noexcept { return sd.softirq_pending != 0 || !sd.spin_list.empty(); }
/// Turns until `stop`; sleeps when idle.
void cpu_loop(bh_thread &t) noexcept;
/// The same in mode `big`: each turn is a section, and other threads of the CPU may come between two.
void cpu_loop_big(bh_thread &t) noexcept;

struct runtime::thread : bh_thread {
    ~thread() { bh_thread_stop(*this); }
};

} // namespace halfpoll
