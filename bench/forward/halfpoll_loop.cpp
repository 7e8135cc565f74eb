// SPDX-License-Identifier: BSD-3-Clause
// The shipped path in scenario `forward`: runtime, NAPI, net_core and forwarder, as `halfpoll run` assembles them, on
// DPDK port 0.
//   halfpoll_loop EAL-OPTIONS -- ROUTES CPU [exclusive|big|nested]
// Prints "turns_per_poll N": the turns of the CPU's loop per poll of 64 packets.

#include "route_file.hpp"

#include "forward/packet/forwarder.hpp"

#include <halfpoll/eal.hpp>
#include <halfpoll/ethdev.hpp>
#include <halfpoll/softnet_data.hpp>

#include <rte_eal.h>
#include <rte_mempool.h>

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <thread>

using namespace halfpoll;

namespace
{

void load_routes(forwarder &fwd, net_device &dev, const std::vector<bench_route> &routes)
{
    std::uint32_t index[bench_nexthops];
    for (unsigned i = 0; i < bench_nexthops; i++) {
        adjacency adj;
        adj.kind = adjacency_kind::forward;
        adj.ifindex = dev.ifindex;
        adj.mtu = static_cast<std::uint16_t>(dev.mtu.load());
        adj.dev = &dev;
        std::memcpy(adj.rewrite, dev.mac.addr_bytes, 6); // to the port itself, since the ring is a loop
        adj.rewrite[6] = 2;
        adj.rewrite[11] = static_cast<std::uint8_t>(i);
        adj.rewrite[12] = 8;
        index[i] = fwd.nexthops().add(adj);
    }
    for (const bench_route &r : routes) {
        fwd.routes4().insert(r.addr, r.len, index[r.nexthop]);
    }
    fwd.reclaim();
}

exclusion_mode mode_of(const std::string &name)
{
    if (name == "exclusive") {
        return exclusion_mode::exclusive;
    }
    return name == "big" ? exclusion_mode::big : exclusion_mode::nested;
}

/// Prints the turns of the CPU's own thread, then sleeps until the shim ends the process. In modes big and nested a
/// turn is a section, with one pair of operations on the CPU's lock. stats.ksoftirqd counts the turns, because under
/// this load every turn's dispatch ends at a limit.
[[noreturn]] void report_turns(const softnet_stats &stats)
{
    std::uint64_t turns, packets;
    do {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        turns = stats.ksoftirqd.load(std::memory_order_relaxed);
        packets = stats.processed.load(std::memory_order_relaxed);
    } while (turns < 1000);
    std::printf("turns_per_poll %.4f\n", static_cast<double>(turns * NAPI_POLL_WEIGHT) / static_cast<double>(packets));
    std::fflush(stdout);
    for (;;) {
        pause();
    }
}

[[noreturn]] void run(const std::string &routes, int cpu, exclusion_mode mode)
{
    runtime_options options;
    options.exclusion = mode;
    options.cpus = {cpu_options{.affinity = cpu}};
    options.warn = [](const std::string &message) { std::fprintf(stderr, "%s\n", message.c_str()); };
    runtime rt(options);
    rte_mempool *pool = packet_pool_create("rx", 2047, RTE_MBUF_DEFAULT_BUF_SIZE);
    net_core core(rt, pool);
    forwarder fwd(core, nullptr);
    core.set_rx_handler(forwarder::receive, &fwd);

    core.on_change = [&, loaded = false](net_device &dev) mutable { // called before the first packet
        if (!loaded) {
            load_routes(fwd, dev, read_routes(routes));
        }
        loaded = true;
    };
    core.register_netdevice(make_ethdev_port("port:0"), {.name = "ring0", .rx_queues = 1});
    report_turns(rt.cpu(0).stats);
}

} // namespace

int main(int argc, char **argv)
{
    const int used = rte_eal_init(argc, argv);
    if (used < 0 || argc - used < 3 || argc - used > 4) {
        std::fprintf(stderr, "usage: halfpoll_loop EAL-OPTIONS -- ROUTES CPU [exclusive|big|nested]\n");
        return 1;
    }
    try {
        run(argv[used + 1], std::atoi(argv[used + 2]), mode_of(argc - used == 4 ? argv[used + 3] : "exclusive"));
    } catch (const std::exception &e) {
        std::fprintf(stderr, "halfpoll_loop: %s\n", e.what());
        return 1;
    }
}
