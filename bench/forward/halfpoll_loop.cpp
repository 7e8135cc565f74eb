// SPDX-License-Identifier: BSD-3-Clause
// The shipped path under scenario `forward`: runtime, NAPI, net_core and forwarder, as `halfpoll run` assembles them,
// over DPDK port 0.
//   halfpoll_loop EAL-OPTIONS -- ROUTES CPU

#include "route_file.hpp"

#include "forwarder.hpp"

#include <halfpoll/eal.hpp>
#include <halfpoll/ethdev.hpp>

#include <rte_eal.h>
#include <rte_mempool.h>

#include <unistd.h>

#include <cstdio>
#include <cstring>

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
        std::memcpy(adj.rewrite, dev.mac.addr_bytes, 6); // back to itself: the ring is a loop
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

int run(const std::string &routes, int cpu)
{
    runtime_options options;
    options.cpus = {cpu_options{.affinity = cpu}};
    options.warn = [](const std::string &message) { std::fprintf(stderr, "%s\n", message.c_str()); };
    runtime rt(options);
    rte_mempool *pool = packet_pool_create("rx", 2047, RTE_MBUF_DEFAULT_BUF_SIZE);
    net_core core(rt, pool);
    forwarder fwd(core, nullptr);
    core.set_rx_handler(forwarder::receive, &fwd);

    core.on_change = [&, loaded = false](net_device &dev) mutable { // before its first packet
        if (!loaded) {
            load_routes(fwd, dev, read_routes(routes));
        }
        loaded = true;
    };
    core.register_netdevice(make_ethdev_port("port:0"), {.name = "ring0", .rx_queues = 1});
    pause(); // the shim ends the process
    return 0;
}

} // namespace

int main(int argc, char **argv)
{
    const int used = rte_eal_init(argc, argv);
    if (used < 0 || argc - used != 3) {
        std::fprintf(stderr, "usage: halfpoll_loop EAL-OPTIONS -- ROUTES CPU\n");
        return 1;
    }
    try {
        return run(argv[used + 1], std::atoi(argv[used + 2]));
    } catch (const std::exception &e) {
        std::fprintf(stderr, "halfpoll_loop: %s\n", e.what());
        return 1;
    }
}
