// SPDX-License-Identifier: BSD-3-Clause
// A forwarder with a mirror, as `halfpoll run` assembles it, on one looped ring port with shadow "full0" in a
// namespace. Frames to 10.0.0.0/8 go round at full rate while ../scenario_fulltable.py changes routes with `ip`.
//   fulltable EAL-OPTIONS -- NETNS CPU
// Reads commands from stdin, and answers each with one line of JSON on stdout:
//   start      sends the frames on their way
//   idle       answers when no event has come for 300 ms
//   stats      answers at once
//   quit       ends the program, without an answer

#include "forward/mirror/mirror.hpp"

#include <halfpoll/eal.hpp>
#include <halfpoll/ethdev.hpp>

#include <nlohmann/json.hpp>
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_ip.h>
#include <rte_mempool.h>

#include <poll.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>

using namespace halfpoll;

namespace
{

constexpr unsigned frame_count = 992; // whole bursts of 32 that a ring of 1024 holds
constexpr int idle_ms = 300;

std::atomic<std::uint64_t> turns{0}; // frames that went round. Written by the data CPU, relaxed

/// The tx callback: restores TTL and checksum of each frame that leaves.
std::uint16_t renew(std::uint16_t, std::uint16_t, rte_mbuf **pkts, std::uint16_t n, void *)
{
    for (std::uint16_t i = 0; i < n; i++) {
        auto *ip = rte_pktmbuf_mtod_offset(pkts[i], rte_ipv4_hdr *, RTE_ETHER_HDR_LEN);
        if (ip->version_ihl == RTE_IPV4_VHL_DEF) {
            ip->time_to_live = 64;
            ip->hdr_checksum = 0;
            ip->hdr_checksum = rte_ipv4_cksum(ip);
        }
    }
    turns.fetch_add(n, std::memory_order_relaxed);
    return n;
}

void make_frame(rte_mbuf *m, const rte_ether_addr &mac, std::uint32_t to)
{
    constexpr unsigned length = 60;
    char *frame = rte_pktmbuf_append(m, length);
    std::memset(frame, 0, length);
    auto *eth = reinterpret_cast<rte_ether_hdr *>(frame);
    eth->dst_addr = mac;
    eth->src_addr.addr_bytes[0] = 2;
    eth->ether_type = RTE_BE16(RTE_ETHER_TYPE_IPV4);
    auto *ip = reinterpret_cast<rte_ipv4_hdr *>(eth + 1);
    ip->version_ihl = RTE_IPV4_VHL_DEF;
    ip->total_length = RTE_BE16(length - RTE_ETHER_HDR_LEN);
    ip->time_to_live = 64;
    ip->next_proto_id = IPPROTO_UDP;
    ip->src_addr = RTE_BE32(RTE_IPV4(192, 0, 2, 1));
    ip->dst_addr = rte_cpu_to_be_32(to);
    ip->hdr_checksum = rte_ipv4_cksum(ip);
}

double cpu_seconds()
{
    timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return static_cast<double>(ts.tv_sec) + static_cast<double>(ts.tv_nsec) * 1e-9;
}

std::size_t resident_bytes()
{
    std::size_t total = 0, resident = 0;
    std::ifstream("/proc/self/statm") >> total >> resident;
    return resident * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

class loop
{
public:
    loop(const std::string &netns, int cpu)
        : rt_(options(cpu)), pool_(packet_pool_create("rx", 4095, RTE_MBUF_DEFAULT_BUF_SIZE)),
          frames_(rte_pktmbuf_pool_create("frames", 2047, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY)),
          core_(rt_, pool_, 2), slow_(core_, slow_options(netns)), fwd_(core_, &slow_)
    {
        core_.set_rx_handler(forwarder::receive, &fwd_);
        dev_ = &core_.register_netdevice(make_ethdev_port("port:0"), {.name = "ring0", .rx_queues = 1});
        dev_->mac = {{0x02, 0, 0, 0, 0, 0x01}}; // a ring has no address; no frame arrives yet
        slow_.set_carrier(slow_.add_shadow(*dev_, "full0"), true);
        mirror_ = std::make_unique<mirror>(fwd_, slow_, netns);
        core_.on_change = [this](net_device &dev) { mirror_->device_changed(dev); };
        if (!frames_ || !rte_eth_add_tx_callback(0, 0, renew, nullptr)) {
            throw error("fulltable: no frames, or no tx callback");
        }
    }
    ~loop()
    {
        mirror_.reset();
        slow_.remove_shadow(*slow_.of_device(*dev_), true);
        core_.unregister_netdevice(*dev_);
    }

    /// Frames leave by the port that they came from. Without this limit the kernel would get one of them now and then,
    /// to redirect its sender, and would forward it itself, in a buffer of its own.
    static slow_path_options slow_options(const std::string &netns)
    {
        slow_path_options o{.netns = netns};
        o.limits[PUNT_REDIRECT] = {.packets_per_second = 0, .burst = 1};
        return o;
    }

    /// Serves commands until the end of stdin, or `quit`.
    void run()
    {
        bool waiting = false;
        for (;;) {
            pollfd fds[] = {{STDIN_FILENO, static_cast<short>(waiting ? 0 : POLLIN), 0},
                            {mirror_->fd(), POLLIN, 0},
                            {core_.control_fd(), POLLIN, 0}};
            const int n = poll(fds, 3, waiting ? idle_ms : -1);
            if (n == 0) {
                waiting = false;
                answer();
            }
            if (fds[1].revents) {
                mirror_->process();
            }
            if (fds[2].revents) {
                core_.run_control();
            }
            if (fds[0].revents && !command(waiting)) {
                return;
            }
        }
    }

private:
    static runtime_options options(int cpu)
    {
        runtime_options o;
        o.cpus = {cpu_options{.affinity = cpu}};
        o.warn = [](const std::string &text) { std::cerr << text << std::endl; };
        return o;
    }

    bool command(bool &waiting)
    {
        std::string line;
        if (!std::getline(std::cin, line) || line == "quit") {
            return false;
        }
        if (line == "start") {
            start();
        }
        waiting = line == "idle";
        if (!waiting) {
            answer();
        }
        return true;
    }

    void start()
    {
        for (unsigned i = 0; i < frame_count; i += 32) {
            std::array<rte_mbuf *, 32> burst;
            if (rte_pktmbuf_alloc_bulk(frames_, burst.data(), burst.size()) != 0) {
                throw error("fulltable: no frames");
            }
            for (unsigned k = 0; k < burst.size(); k++) {
                make_frame(burst[k], dev_->mac, RTE_IPV4(10, i + k, (i + k) >> 8, 1));
            }
            core_.foreign_xmit(1, *dev_, burst.data(), burst.size());
        }
    }

    void answer()
    {
        char mac[RTE_ETHER_ADDR_FMT_SIZE];
        rte_ether_format_addr(mac, sizeof mac, &dev_->mac);
        std::uint64_t punted = 0, dropped = 0;
        for (unsigned i = 0; i < DROP_FORWARD_MAX; i++) {
            dropped += core_.drops(i);
        }
        for (unsigned i = 0; i < PUNT_CLASSES; i++) {
            punted += slow_.punted(static_cast<punt_class>(i)) + slow_.policed(static_cast<punt_class>(i));
        }
        const nlohmann::json j = {{"mac", mac},
                                  {"turns", turns.load(std::memory_order_relaxed)},
                                  {"frames", rte_mempool_in_use_count(frames_)},
                                  {"punted", punted},
                                  {"dropped", dropped},
                                  {"routes4", fwd_.routes4().size()},
                                  {"routes6", fwd_.routes6().size()},
                                  {"messages", mirror_->stats().messages},
                                  {"resyncs", mirror_->stats().resyncs},
                                  {"errors", mirror_->stats().errors},
                                  {"cpu", cpu_seconds()},
                                  {"resident", resident_bytes()}};
        std::cout << j.dump() << std::endl;
    }

    runtime rt_;
    rte_mempool *pool_, *frames_;
    net_core core_;
    slow_path slow_;
    forwarder fwd_;
    net_device *dev_ = nullptr;
    std::unique_ptr<mirror> mirror_;
};

} // namespace

int main(int argc, char **argv)
{
    const int used = rte_eal_init(argc, argv);
    if (used < 0 || argc - used != 3) {
        std::fprintf(stderr, "usage: fulltable EAL-OPTIONS -- NETNS CPU\n");
        return 1;
    }
    try {
        loop(argv[used + 1], std::atoi(argv[used + 2])).run();
    } catch (const std::exception &e) {
        std::fprintf(stderr, "fulltable: %s\n", e.what());
        return 1;
    }
    return 0;
}
