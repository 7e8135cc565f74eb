// SPDX-License-Identifier: BSD-3-Clause
//
// The device under test of the load scenarios: virtio_echo fifo|other BUSY_NS SOCKET... echoes on one virtio_user
// device for each socket, all on one data CPU, and spends BUSY_NS on each packet. For each line on stdin it prints the
// counters as JSON; it ends at the end of stdin.
#include "virtio_bench.hpp"

#include <halfpoll/eal.hpp>
#include <halfpoll/ethdev.hpp>
#include <halfpoll/net_core.hpp>
#include <halfpoll/softnet_data.hpp>

#include <rte_cycles.h>
#include <rte_mempool.h>
#include <rte_pause.h>

#include <poll.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

using namespace halfpoll;
using namespace halfpoll::bench;

namespace
{

std::uint64_t busy_cycles; // constant once the first device exists

void echo(void *, net_cpu &cpu, net_device &in, rte_mbuf **pkts, unsigned n) noexcept
{
    const std::uint64_t end = rte_rdtsc() + n * busy_cycles;
    while (busy_cycles != 0 && rte_rdtsc() < end) {
        rte_pause();
    }
    dev_queue_xmit(cpu, in, pkts, n);
}

unsigned long long value(const std::atomic<std::uint64_t> &counter) { return counter.load(std::memory_order_relaxed); }

void print_counters(net_core &core)
{
    const softnet_stats &s = core.rt().cpu(0).stats;
    std::printf("{\"wakeups\": %llu, \"sleeps\": %llu, \"time_squeeze\": %llu, \"devices\": {", value(s.wakeups),
                value(s.sleeps), value(s.time_squeeze));
    const char *separator = "";
    for (net_device *dev : core.devices()) {
        const napi_struct &napi = dev->queues[0]->napi;
        const dev_stats &d = core.cpu(0).dev[dev->ifindex];
        std::printf(
            "%s\"%s\": {\"rung\": \"%s\", \"polls\": %llu, \"packets\": %llu, \"interrupts\": %llu, \"unmasks\": "
            "%llu, \"park_rescues\": %llu, \"tx_packets\": %llu, \"tx_dropped\": %llu}",
            separator, dev->name.c_str(), to_string(napi.rung), value(napi.stats.polls), value(napi.stats.packets),
            value(napi.stats.interrupts), value(napi.stats.unmasks), value(napi.stats.park_rescues),
            value(d.tx_packets), value(d.tx_dropped));
        separator = ", ";
    }
    std::printf("}}\n");
    std::fflush(stdout);
}

void serve_stdin(net_core &core)
{
    pollfd fds[] = {{STDIN_FILENO, POLLIN, 0}, {core.control_fd(), POLLIN, 0}};
    for (;;) {
        if (poll(fds, 2, -1) < 0 && errno != EINTR) {
            throw_errno(errno, "poll");
        }
        if (fds[1].revents != 0) {
            core.run_control();
        }
        if (fds[0].revents != 0) {
            char line[64];
            if (read(STDIN_FILENO, line, sizeof line) <= 0) {
                return;
            }
            print_counters(core);
        }
    }
}

void run(bool fifo, unsigned busy_ns, const std::vector<std::string> &sockets)
{
    eal_init({.shareable = true, .control_cpu = PEER_CPU});
    busy_cycles = busy_ns * rte_get_tsc_hz() / NSEC_PER_SEC;
    rte_mempool *pool = packet_pool_create("echo", 16383, 2176);
    {
        runtime_options options;
        options.cpus = {{.affinity = DUT_CPU, .fifo_priority = fifo ? FIFO_PRIORITY : 0}};
        runtime rt(options);
        net_core core(rt, pool);
        core.set_rx_handler(echo, nullptr);
        for (std::size_t i = 0; i < sockets.size(); ++i) {
            net_device_options o;
            o.name = "virtio" + std::to_string(i);
            o.descriptors = DESCRIPTORS;
            core.register_netdevice(
                make_ethdev_port("net_virtio_user" + std::to_string(i) + ",server=1,path=" + sockets[i]), o);
        }
        print_counters(core); // its line means: ready
        serve_stdin(core);
    }
    packet_pool_free(pool);
}

} // namespace

int main(int argc, char **argv)
{
    if (argc < 4) {
        std::fprintf(stderr, "usage: %s fifo|other BUSY_NS SOCKET...\n", argv[0]);
        return 2;
    }
    try {
        run(std::strcmp(argv[1], "fifo") == 0, static_cast<unsigned>(std::atoi(argv[2])), {argv + 3, argv + argc});
    } catch (const std::exception &e) {
        std::fprintf(stderr, "%s: %s\n", argv[0], e.what());
        return 1;
    }
    return 0;
}
