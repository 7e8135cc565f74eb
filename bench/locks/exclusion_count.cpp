// SPDX-License-Identifier: BSD-3-Clause
// Runs a fixed number of polls of 64 packets, which are sent back, on one CPU, for callgrind --collect-atstart=no,
// which counts the instructions that the CPU's thread executes meanwhile (see ../scenario_exclusion.py):
//   exclusion_count exclusive|big|nested POLLS
#include "bench_port.hpp"
#include "frame.hpp"

#include <halfpoll/eal.hpp>

#include <sched.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>

#if __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>
#else
#define CALLGRIND_TOGGLE_COLLECT static_cast<void>(0) // nothing is counted
#endif

using namespace halfpoll;

namespace
{

constexpr unsigned WARM_UP = 100;

std::atomic<bool> started{false};  // release in measure(); pairs with the acquire in rx_burst()
std::atomic<bool> finished{false}; // release in count(); pairs with the acquire in measure()

/// A clock that advances by 1 us with each call, so that nothing depends on the speed of the machine.
ktime_t counted_clock() noexcept
{
    static thread_local constinit ktime_t now = 0;
    return now += NSEC_PER_USEC;
}

class endless_port final : public bench_port
{
public:
    endless_port(net_core &core, unsigned polls) : core_(core), bursts_(polls * NAPI_POLL_WEIGHT / NET_BURST) {}
    std::uint16_t rx_burst(std::uint16_t, rte_mbuf **pkts, std::uint16_t n) noexcept override
    {
        if (started.load(std::memory_order_acquire)) {
            count();
        }
        return receive_frames(core_, TOS_BULK, pkts, n) ? n : 0;
    }
    std::uint16_t tx_burst(std::uint16_t, rte_mbuf **pkts, std::uint16_t n) noexcept override
    {
        core_.cpu(0).cache->free(pkts, n);
        return n;
    }

private:
    void count() noexcept
    {
        if (seen_ == WARM_UP || seen_ == WARM_UP + bursts_) {
            CALLGRIND_TOGGLE_COLLECT;
            finished.store(seen_ != WARM_UP, std::memory_order_release);
        }
        ++seen_;
    }

    net_core &core_;
    const unsigned bursts_;
    unsigned seen_ = 0;
};

void send_back(void *, net_cpu &cpu, net_device &in, rte_mbuf **pkts, unsigned n) noexcept
{
    dev_queue_xmit(cpu, in, pkts, n);
}

runtime_options options(const std::string &mode)
{
    runtime_options o;
    o.clock = counted_clock;
    o.interrupts = false; // valgrind runs no other thread while one waits in an io_uring
    o.exclusion = mode == "exclusive" ? exclusion_mode::exclusive
                  : mode == "big"     ? exclusion_mode::big
                                      : exclusion_mode::nested;
    o.cpus = {{.affinity = sched_getcpu()}};
    o.warn = [](const std::string &) {};
    return o;
}

void measure(const std::string &mode, unsigned polls)
{
    eal_init({});
    rte_mempool *pool = packet_pool_create("exclusion_count", 2047, RTE_MBUF_DEFAULT_BUF_SIZE);
    {
        runtime rt(options(mode));
        net_core core(rt, pool);
        core.set_rx_handler(send_back, nullptr);
        core.register_netdevice(std::make_unique<endless_port>(core, polls), {.name = "endless"});
        started.store(true, std::memory_order_release); // from here on no other thread gives the CPU work
        while (!finished.load(std::memory_order_acquire)) {
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        }
    }
    packet_pool_free(pool);
}

} // namespace

int main(int argc, char **argv)
{
    if (argc != 3) {
        std::fprintf(stderr, "usage: exclusion_count exclusive|big|nested POLLS\n");
        return 1;
    }
    try {
        measure(argv[1], static_cast<unsigned>(std::strtoul(argv[2], nullptr, 10)));
    } catch (const std::exception &e) {
        std::fprintf(stderr, "exclusion_count: %s\n", e.what());
        return 1;
    }
    return 0;
}
