// SPDX-License-Identifier: BSD-3-Clause
// The wake-up latency of an echo over an AF_XDP port: the runtime is compared with a bare epoll loop on the same kind
// of socket and, in a closed loop, with the runtime in spin mode. Rounds are interleaved. Prints one line of JSON per
// figure and round.
//   af_xdp_wake ROUNDS SAMPLES
#include "af_xdp_cable.hpp"

#include <halfpoll/af_xdp.hpp>
#include <halfpoll/eal.hpp>
#include <halfpoll/ktime.hpp>
#include <halfpoll/net_core.hpp>

#include <rte_mbuf.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <functional>
#include <random>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <thread>
#include <vector>

using namespace halfpoll;
using namespace halfpoll::bench;

namespace
{

constexpr int ECHO_CPU = 0, CLIENT_CPU = 1, FIFO = 10;

/// Sends one frame, and spins until it is back. Returns the time in us.
double round_trip(const packet_socket &socket)
{
    static std::uint32_t number = 0;
    frame out, in;
    number++;
    std::memcpy(out.number, &number, sizeof number);
    const ktime_t start = ktime_get();
    if (send(socket.fd(), &out, sizeof out, 0) != sizeof out) {
        throw_errno(errno, "cannot send");
    }
    for (;;) {
        const ssize_t n = recv(socket.fd(), &in, sizeof in, 0);
        const ktime_t now = ktime_get();
        if (n == sizeof in && std::memcmp(in.number, &number, sizeof number) == 0) {
            return static_cast<double>(now - start) / 1000;
        }
        if (now - start > NSEC_PER_SEC) {
            throw error("no echo within a second");
        }
    }
}

double percentile(std::vector<double> &sorted, double p)
{
    return sorted[std::min(sorted.size() - 1, static_cast<std::size_t>(static_cast<double>(sorted.size()) * p))];
}

void print(const char *name, double value) { std::printf("{\"name\": \"%s\", \"us\": %.3f}\n", name, value); }

/// Measures packets that come after 2 to 4 ms of idle time.
void first_packets(const packet_socket &socket, unsigned samples, const std::string &name)
{
    static std::mt19937 random(1);
    std::vector<double> times;
    for (unsigned i = 0; i < samples; i++) {
        std::this_thread::sleep_for(std::chrono::microseconds(2000 + random() % 2000));
        times.push_back(round_trip(socket));
    }
    std::sort(times.begin(), times.end());
    print((name + "_p50").c_str(), percentile(times, 0.5));
    print((name + "_p99").c_str(), percentile(times, 0.99));
}

void ping_pong(const packet_socket &socket, unsigned samples, const std::string &name)
{
    std::vector<double> times;
    for (unsigned i = 0; i < 10 * samples; i++) {
        times.push_back(round_trip(socket));
    }
    std::sort(times.begin(), times.end());
    print((name + "_p50").c_str(), percentile(times, 0.5));
}

void echo(void *, net_cpu &cpu, net_device &in, rte_mbuf **pkts, unsigned n) noexcept
{
    dev_queue_xmit(cpu, in, pkts, n);
}

/// Runs the echo on the runtime while `measure` runs.
void with_runtime(net_core &core, bool spin, const std::function<void()> &measure)
{
    net_device_options options;
    options.name = "va";
    options.force_spin = spin;
    net_device &dev = core.register_netdevice(make_af_xdp_port("va"), options);
    measure();
    core.unregister_netdevice(dev);
}

/// The loop that one writes without a runtime: waits in epoll, then polls the ring until it is empty.
void bare_loop(port &device, int stop)
{
    pin(ECHO_CPU, FIFO);
    const int epoll = epoll_create1(EPOLL_CLOEXEC);
    for (int fd : {device.wait_of(0).fd, stop}) {
        epoll_event event{};
        event.events = EPOLLIN;
        event.data.fd = fd;
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    }
    epoll_event event;
    while (epoll_wait(epoll, &event, 1, -1) == 1 && event.data.fd != stop) {
        rte_mbuf *pkts[32];
        while (const std::uint16_t n = device.rx_burst(0, pkts, 32)) {
            const std::uint16_t sent = device.tx_burst(0, pkts, n);
            rte_pktmbuf_free_bulk(pkts + sent, n - sent);
            device.tx_doorbell(0);
        }
    }
    ::close(epoll);
}

void with_bare_loop(rte_mempool *pool, const std::function<void()> &measure)
{
    auto device = make_af_xdp_port("va");
    port_options options;
    options.pool = pool;
    device->open(options);
    const int stop = eventfd(0, EFD_CLOEXEC);
    std::thread thread([&] { bare_loop(*device, stop); });
    measure();
    eventfd_write(stop, 1);
    thread.join();
    ::close(stop);
}

void measure(unsigned rounds, unsigned samples)
{
    make_cable();
    eal_init({});
    rte_mempool *pool = packet_pool_create("packets", 8191, 2048 + RTE_PKTMBUF_HEADROOM);
    {
        runtime_options options;
        options.cpus = {cpu_options{ECHO_CPU, FIFO}};
        options.warn = [](const std::string &line) { std::fprintf(stderr, "%s\n", line.c_str()); };
        runtime rt(options);
        net_core core(rt, pool);
        core.set_rx_handler(echo, nullptr);
        pin(CLIENT_CPU);
        const packet_socket client;
        for (unsigned i = 0; i < rounds; i++) {
            with_runtime(core, false, [&] {
                round_trip(client);
                first_packets(client, samples, "afxdp_first");
                ping_pong(client, samples, "afxdp_pingpong");
            });
            with_runtime(core, true, [&] { ping_pong(client, samples, "afxdp_pingpong_spin"); });
            with_bare_loop(pool, [&] { first_packets(client, samples, "afxdp_first_bare"); });
        }
    }
    packet_pool_free(pool);
}

} // namespace

int main(int argc, char **argv)
{
    if (argc != 3) {
        std::fprintf(stderr, "usage: %s ROUNDS SAMPLES\n", argv[0]);
        return 2;
    }
    try {
        measure(static_cast<unsigned>(std::atoi(argv[1])), static_cast<unsigned>(std::atoi(argv[2])));
    } catch (const error &e) {
        std::fprintf(stderr, "af_xdp_wake: %s\n", e.what());
        return 1;
    }
    return 0;
}
