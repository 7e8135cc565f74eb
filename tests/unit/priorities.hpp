// SPDX-License-Identifier: BSD-3-Clause
//
// Threads of several SCHED_FIFO priorities on one logical CPU, so that the order of preemption is known.
#pragma once

#include "eventually.hpp"

#include <halfpoll/pi_lock.hpp>
#include <halfpoll/runtime.hpp>
#include <halfpoll/softnet_data.hpp>

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <pthread.h>
#include <sched.h>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace halfpoll::test
{

/// The logical CPUs that the process may use.
inline std::vector<int> allowed_cpus()
{
    cpu_set_t set;
    sched_getaffinity(0, sizeof set, &set);
    std::vector<int> cpus;
    for (unsigned n = 0; n < CPU_SETSIZE; ++n) {
        if (CPU_ISSET(n, &set)) {
            cpus.push_back(static_cast<int>(n));
        }
    }
    return cpus;
}
inline int first_cpu() { return allowed_cpus().front(); }

/// The priority at which a thread runs now; -1 - n means SCHED_FIFO n (proc(5)).
inline int effective_priority(std::uint32_t tid = current_tid())
{
    std::ifstream file("/proc/self/task/" + std::to_string(tid) + "/stat");
    std::string text;
    std::getline(file, text);
    std::istringstream fields(text.substr(text.rfind(')') + 1));
    std::string field;
    for (int n = 3; n <= 18; ++n) {
        fields >> field;
    }
    return std::stoi(field);
}

/// True if each other thread of the process is in a system call that waits.
inline bool others_sleep()
{
    for (const auto &task : std::filesystem::directory_iterator("/proc/self/task")) {
        std::ifstream file(task.path() / "stat");
        std::string text;
        std::getline(file, text);
        const bool self = task.path().filename() == std::to_string(current_tid());
        if (!self && text.find(") S ") == std::string::npos) {
            return false;
        }
    }
    return true;
}

/// Returns an empty text, or the reason why the thread cannot become SCHED_FIFO.
inline std::string become_fifo(pthread_t thread, int priority)
{
    const sched_param param{.sched_priority = priority};
    const int rc = pthread_setschedparam(thread, SCHED_FIFO, &param);
    return rc == 0 ? "" : "SCHED_FIFO is refused here (CAP_SYS_NICE)";
}

/// A function that another thread starts on a runtime CPU. It runs at once if that CPU is the more urgent one.
struct task {
    std::function<void()> fn;
    call_single_data call;
    explicit task(std::function<void()> f) : fn(std::move(f))
    {
        call.func = [](softnet_data &, void *arg) noexcept { (*static_cast<std::function<void()> *>(arg))(); };
        call.arg = &fn;
    }
};

/// Runtime CPUs of rising priority, all on the first logical CPU.
class priority_rig : public testing::Test
{
protected:
    void start_runtime(exclusion_mode mode, const std::vector<int> &priorities)
    {
        runtime_options options;
        options.exclusion = mode;
        options.cpus.clear();
        for (const int priority : priorities) {
            options.cpus.push_back({.affinity = cpu, .fifo_priority = priority});
        }
        options.warn = [this](const std::string &what) { refused = what; };
        rt = std::make_unique<runtime>(options);
    }
    void start(unsigned whom, task &t) { call_on_async(rt->cpu(whom), t.call); }
    void on(unsigned whom, const std::function<void()> &fn)
    {
        rt->call_on(whom, [&](softnet_data &) { fn(); });
    }
    /// Waits until all runtime CPUs sleep: a CPU that is started after that preempts less urgent ones.
    void wait_for_sleep()
    {
        for (unsigned c = 0; c < rt->cpus(); ++c) {
            ASSERT_TRUE(eventually([&] { return rt->cpu(c).sleeping.load() != 0; }));
        }
        ASSERT_TRUE(eventually(others_sleep)); // `sleeping` is set before the system call
    }

    const int cpu = first_cpu();
    std::string refused; ///< the warning if SCHED_FIFO was refused, else empty
    std::unique_ptr<runtime> rt;
};

} // namespace halfpoll::test

#define SKIP_WITHOUT_FIFO()                                                                                            \
    if (!refused.empty()) {                                                                                            \
        GTEST_SKIP() << refused;                                                                                       \
    }                                                                                                                  \
    static_assert(true)
