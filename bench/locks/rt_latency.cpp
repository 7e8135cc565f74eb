// SPDX-License-Identifier: BSD-3-Clause
// The time that an urgent packet waits for a long bottom half on its CPU. Measures one variant, and prints one line of
// JSON (see ../scenario_rt_latency.py):
//   rt_latency VARIANT CPU WAKES [TRACE-FOLDER]
//     floor       the long work is a loop of a thread that holds no lock
//     nested      mode nested: the long bottom half and the urgent one are runtime CPUs of different priorities
//     nested_irq  as nested, but the urgent packet comes by an interrupt and NAPI, not from an embedder's thread
//     big         mode big: both belong to one runtime CPU and share its lock
// With TRACE-FOLDER it writes a trace of the last wake-ups below that folder, for `halfpoll trace`.
#include "latency_rig.hpp"

#include <halfpoll/local_lock.hpp>
#include <halfpoll/softnet_data.hpp>
#include <halfpoll/trace.hpp>

#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <latch>
#include <optional>
#include <string>
#include <thread>

using namespace halfpoll;

namespace
{

/// A SCHED_OTHER thread that does the long work and holds no lock.
class free_loop
{
public:
    explicit free_loop(int cpu) : thread_([this, cpu] { run(cpu); }) {}
    ~free_loop()
    {
        stop_.store(true, std::memory_order_relaxed); // no other data depends on it
        thread_.join();
    }

private:
    void run(int cpu)
    {
        const cpu_pin pinned(cpu);
        const char frame[FRAME_LENGTH] = {};
        while (!stop_.load(std::memory_order_relaxed)) {
            look_for_long(frame);
        }
    }

    std::atomic<bool> stop_{false};
    std::thread thread_;
};

long times_blocked()
{
    rusage usage{};
    getrusage(RUSAGE_THREAD, &usage);
    return usage.ru_nvcsw;
}

/// A thread of the embedder that acts as a force-threaded interrupt handler: it injects a packet and raises a softirq.
/// It ends after `saved`, since the EAL discards the events of a thread that ends. Returns how often it waited for a
/// lock.
long urgent_thread(latency_rig &r, std::latch &saved)
{
    pthread_setname_np(pthread_self(), "urgent");
    const cpu_attachment attached(r.rt, r.urgent_cpu);
    sched_param param{};
    param.sched_priority = URGENT_PRIORITY;
    if (const int rc = pthread_setschedparam(pthread_self(), SCHED_FIFO, &param)) {
        throw_errno(rc, "no SCHED_FIFO");
    }
    random_timer timer;
    halfpoll_xdp_burst burst{};
    const long before = times_blocked();
    while (!r.probe.finished()) {
        r.probe.expect(timer.arm());
        timer.wait();
        local_bh_disable();
        r.send_urgent(burst);
        raise_softirq_irqoff(r.rt.cpu(r.urgent_cpu), BLOCK_SOFTIRQ);
        local_bh_enable();
    }
    const long waits = times_blocked() - before - r.probe.done(); // without the waits for the timer
    saved.wait();
    return waits;
}

long wake_thread(latency_rig &r)
{
    std::latch saved(1);
    std::future<long> thread = std::async(std::launch::async, [&] { return urgent_thread(r, saved); });
    while (!r.probe.finished() && thread.wait_for(std::chrono::milliseconds(20)) == std::future_status::timeout) {
    }
    trace_finish(r.rt);
    saved.count_down();
    return thread.get();
}

void wake_by_interrupt(latency_rig &r)
{
    r.add_urgent();
    while (!r.probe.finished()) {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
}

/// The time of a NET_RX dispatch of the long bottom half, in us.
double dispatch_us(runtime &rt)
{
    const softnet_stats &stats = rt.cpu(0).stats;
    const auto served = static_cast<double>(stats.softirqs[NET_RX_SOFTIRQ].load(std::memory_order_relaxed));
    return served == 0 ? 0 : static_cast<double>(stats.busy.load(std::memory_order_relaxed)) / 1e3 / served;
}

void print(latency_rig &r, long lock_waits)
{
    std::uint64_t drops = 0;
    for (unsigned reason = 0; reason < DROP_REASONS; ++reason) {
        drops += r.core.drops(reason);
    }
    std::printf("{\"drops\": %llu, \"dispatch_us\": %.1f, \"lock_waits\": %ld, \"ns\": [",
                static_cast<unsigned long long>(drops), dispatch_us(r.rt), lock_waits);
    const char *separator = "";
    for (const ktime_t ns : r.probe.latencies()) {
        std::printf("%s%lld", separator, static_cast<long long>(ns));
        separator = ", ";
    }
    std::printf("]}\n");
}

void measure(const std::string &variant, int cpu, unsigned wakes, const std::string &trace_dir)
{
    eal_options eal;
    if (!trace_dir.empty()) {
        eal.trace = "^\\(softirq\\|irq_handler\\|contention\\|sched\\|xdp_devmap\\)_";
        eal.trace_dir = trace_dir;
    }
    eal_init(eal);
    latency_rig r(variant == "big" ? exclusion_mode::big : exclusion_mode::nested, cpu, wakes);
    r.rt.open_softirq(BLOCK_SOFTIRQ, [](softnet_data &) noexcept {});
    std::optional<free_loop> loop;
    if (variant == "floor") {
        loop.emplace(cpu);
    } else {
        r.add_bulk();
    }
    if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0) {
        throw_errno(errno, "memory cannot be locked (ulimit -l unlimited)");
    }
    long lock_waits = 0;
    if (variant == "nested_irq") {
        wake_by_interrupt(r);
    } else {
        lock_waits = wake_thread(r);
    }
    loop.reset();
    print(r, lock_waits);
}

} // namespace

int main(int argc, char **argv)
{
    if (argc < 4 || argc > 5) {
        std::fprintf(stderr, "usage: rt_latency floor|nested|nested_irq|big CPU WAKES [TRACE-FOLDER]\n");
        return 1;
    }
    try {
        measure(argv[1], std::atoi(argv[2]), static_cast<unsigned>(std::strtoul(argv[3], nullptr, 10)),
                argc == 5 ? argv[4] : "");
    } catch (const std::exception &e) {
        std::fprintf(stderr, "rt_latency: %s\n", e.what());
        return 1;
    }
    return 0;
}
