// SPDX-License-Identifier: BSD-3-Clause
// A packet appliance on one page: sends every packet back with its link addresses swapped, and prints how its queue
// waited.
//   echo [DEVICE [SECONDS]]     DEVICE: af_xdp:IFNAME, or a DPDK virtual device (net_null0, which generates packets)
// The exit status is 1 if no packet came.
#include <halfpoll/halfpoll.hpp>

#include <rte_mbuf.h>

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <thread>

using namespace halfpoll;

namespace
{

/// Runs on the CPU that polled the burst, and owns the packets.
void reflect(void *, net_cpu &cpu, net_device &in, rte_mbuf **pkts, unsigned n) noexcept
{
    for (unsigned i = 0; i < n; ++i) {
        auto *link = rte_pktmbuf_mtod(pkts[i], rte_ether_hdr *);
        std::swap(link->src_addr, link->dst_addr);
    }
    dev_queue_xmit(cpu, in, pkts, n);
}

void print(const rx_queue &queue)
{
    const napi_stats &stats = queue.napi.stats;
    std::cout << queue.napi.name << ": " << to_string(queue.napi.rung.load()) << ", polls " << stats.polls
              << ", packets " << stats.packets << ", interrupts " << stats.interrupts << std::endl;
}

/// Returns the number of packets received.
std::uint64_t serve(const std::string &device, std::chrono::seconds time, rte_mempool *pool)
{
    runtime_options settings;
    settings.warn = [](const std::string &what) { std::cerr << what << "\n"; };
    runtime rt(settings);
    net_core core(rt, pool);
    core.set_rx_handler(reflect, nullptr);
    net_device_options options;
    options.name = "echo";
    const bool af_xdp = device.starts_with("af_xdp:");
    net_device &dev = core.register_netdevice(
        af_xdp ? make_af_xdp_port(device.substr(device.find(':') + 1)) : make_ethdev_port(device), options);
    std::this_thread::sleep_for(time);
    core.run_control(); // link changes; a program that runs longer waits for core.control_fd()
    print(*dev.queues[0]);
    return dev.queues[0]->napi.stats.packets;
}

} // namespace

int main(int argc, char **argv)
{
    try {
        eal_init({});
        rte_mempool *pool = packet_pool_create("packets", 8192, RTE_MBUF_DEFAULT_BUF_SIZE);
        const std::chrono::seconds time(argc > 2 ? std::atoi(argv[2]) : 1);
        const std::uint64_t packets = serve(argc > 1 ? argv[1] : "net_null0", time, pool);
        packet_pool_free(pool);
        return packets ? 0 : 1;
    } catch (const error &e) {
        std::cerr << e.what() << "\n";
        return 1;
    }
}
