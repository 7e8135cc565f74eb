// SPDX-License-Identifier: BSD-3-Clause
//
// The other end of a net_virtio_user device (or of net_memif). virtio_peer DEVARGS opens it and obeys the lines on
// stdin: "up" and "down" wait for that state of the link and answer with the same word; a number sends a packet that
// carries it and answers "back" or "lost". At the end of stdin it closes the device and exits with 0.
#include <halfpoll/eal.hpp>
#include <halfpoll/ethdev.hpp>

#include <rte_mbuf.h>

#include <chrono>
#include <iostream>
#include <string>
#include <thread>

using namespace halfpoll;

namespace
{

template <class F>
bool in_time(F &&condition)
{
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!condition()) {
        if (std::chrono::steady_clock::now() > deadline) {
            return false;
        }
        std::this_thread::yield();
    }
    return true;
}

bool echo(port &peer, rte_mempool *pool, std::uint32_t number)
{
    rte_mbuf *m = rte_pktmbuf_alloc(pool);
    if (!m) {
        throw error("no packet");
    }
    *reinterpret_cast<std::uint32_t *>(rte_pktmbuf_append(m, 60)) = number;
    if (peer.tx_burst(0, &m, 1) != 1) {
        rte_pktmbuf_free(m);
        return false;
    }
    rte_mbuf *back = nullptr;
    if (!in_time([&] { return peer.rx_burst(0, &back, 1) == 1; })) {
        return false;
    }
    const bool same = *rte_pktmbuf_mtod(back, std::uint32_t *) == number;
    rte_pktmbuf_free(back);
    return same;
}

std::string obey(port &peer, rte_mempool *pool, const std::string &line)
{
    if (line == "up" || line == "down") {
        return in_time([&] { return peer.link().up == (line == "up"); }) ? line : "not " + line;
    }
    return echo(peer, pool, static_cast<std::uint32_t>(std::stoul(line))) ? "back" : "lost";
}

void serve(const std::string &devargs)
{
    eal_init({.shareable = true});
    rte_mempool *pool = packet_pool_create("peer", 1023, 2176);
    {
        auto peer = make_ethdev_port(devargs);
        peer->open({.pool = pool});
        for (std::string line; std::getline(std::cin, line);) {
            std::cout << obey(*peer, pool, line) << std::endl;
        }
    }
    packet_pool_free(pool);
}

} // namespace

int main(int argc, char **argv)
{
    if (argc != 2) {
        std::cerr << "usage: " << argv[0] << " DEVARGS\n";
        return 2;
    }
    try {
        serve(argv[1]);
    } catch (const std::exception &e) {
        std::cerr << argv[0] << ": " << e.what() << '\n';
        return 1;
    }
    return 0;
}
