// SPDX-License-Identifier: BSD-3-Clause
#include "bh_thread.hpp"

#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_rcu_qsbr.h>

#include <cerrno>
#include <cstring>
#include <optional>
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace halfpoll
{

namespace
{

/// Timers of one CPU that never allocate: several per queue, and no CPU has hundreds of queues.
constexpr std::size_t TIMERS_RESERVED = 1024;

thread_local softnet_data *this_cpu = nullptr;

void pin(const bh_thread &t)
{
    const std::string name = "hp/" + std::to_string(t.sd.cpu);
    pthread_setname_np(pthread_self(), name.c_str());
    if (t.options.affinity < 0) {
        return;
    }
    cpu_set_t set;
    CPU_ZERO(&set);
    if (t.options.affinity < CPU_SETSIZE) {
        CPU_SET(static_cast<unsigned>(t.options.affinity), &set);
    }
    if (const int rc = pthread_setaffinity_np(pthread_self(), sizeof set, &set)) {
        throw_errno(rc, "runtime CPU " + std::to_string(t.sd.cpu) + " cannot be pinned to logical CPU " +
                            std::to_string(t.options.affinity) + " (is it online and in this process's cpuset?)");
    }
}

void set_fifo(bh_thread &t)
{
    if (t.options.fifo_priority == 0) {
        return;
    }
    sched_param param{};
    param.sched_priority = t.options.fifo_priority;
    if (const int rc = pthread_setschedparam(pthread_self(), SCHED_FIFO, &param)) {
        t.warning = "runtime CPU " + std::to_string(t.sd.cpu) + " runs without SCHED_FIFO " +
                    std::to_string(t.options.fifo_priority) + ": " + std::strerror(rc) + " (CAP_SYS_NICE?)";
    }
}

/// Registration as a DPDK lcore and as an RCU reader, for as long as it lives.
class registration
{
public:
    explicit registration(softnet_data &sd) : sd_(sd)
    {
        if (rte_thread_register() < 0) {
            throw error("runtime CPU " + std::to_string(sd.cpu) + " gets no DPDK lcore id: " + rte_strerror(rte_errno) +
                        " (the EAL must be initialised with --in-memory, and has " + std::to_string(RTE_MAX_LCORE) +
                        " ids: start it with fewer lcores)");
        }
        if (rte_rcu_qsbr_thread_register(sd.rt->qsbr(), sd.cpu) != 0) {
            rte_thread_unregister();
            throw error("runtime CPU " + std::to_string(sd.cpu) + " cannot be registered as an RCU reader");
        }
        rte_rcu_qsbr_thread_online(sd.rt->qsbr(), sd.cpu);
        this_cpu = &sd;
    }
    ~registration()
    {
        this_cpu = nullptr;
        rte_rcu_qsbr_thread_offline(sd_.rt->qsbr(), sd_.cpu);
        rte_rcu_qsbr_thread_unregister(sd_.rt->qsbr(), sd_.cpu);
        rte_thread_unregister();
    }
    registration(const registration &) = delete;
    registration &operator=(const registration &) = delete;

private:
    softnet_data &sd_;
};

void doorbell_rang(wait_source &source, int) noexcept
{
    stat_add(static_cast<doorbell_source &>(source).sd->stats.doorbells);
}

void make_engine(bh_thread &t, std::optional<wait_engine> &engine)
{
    if (!t.sd.rt->options().interrupts) {
        t.wait_error = "interrupts are switched off";
        return;
    }
    try {
        engine.emplace();
    } catch (const error &e) {
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

void bh_thread_main(bh_thread &t, std::promise<void> &started)
{
    std::optional<registration> registered;
    std::optional<wait_engine> engine;
    try {
        pin(t);
        set_fifo(t);
        registered.emplace(t.sd);
        t.sd.timers.reserve(TIMERS_RESERVED);
        make_engine(t, engine);
    } catch (...) {
        started.set_exception(std::current_exception());
        return;
    }
    started.set_value();
    cpu_loop(t);
    if (engine) {
        engine->remove(t.doorbell);
    }
}

} // namespace

softnet_data *this_softnet_data() noexcept { return this_cpu; }

void bh_thread_start(bh_thread &t, runtime &rt, unsigned cpu)
{
    t.sd.cpu = cpu;
    t.sd.rt = &rt;
    t.sd.now = rt.now();
    t.sd.doorbell_fd = eventfd(0, EFD_CLOEXEC); // blocking: an io_uring read of a non-blocking one would not wait
    if (t.sd.doorbell_fd < 0) {
        throw_errno(errno, "no eventfd for the doorbell of runtime CPU " + std::to_string(cpu));
    }
    auto started = std::make_shared<std::promise<void>>();
    std::future<void> ready = started->get_future();
    t.handle = std::thread([&t, started] { bh_thread_main(t, *started); });
    ready.get();
}

void bh_thread_stop(bh_thread &t) noexcept
{
    if (t.handle.joinable()) {
        t.stop.store(true, std::memory_order_release); // pairs with the acquire in cpu_loop()
        kick_cpu(t.sd);
        t.handle.join();
    }
    if (t.sd.doorbell_fd >= 0) {
        close(t.sd.doorbell_fd);
        t.sd.doorbell_fd = -1;
    }
}

} // namespace halfpoll
