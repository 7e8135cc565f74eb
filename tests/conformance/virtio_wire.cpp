// SPDX-License-Identifier: BSD-3-Clause
//
// The cables of a router on virtio. `virtio_wire SOCKET,NETNS,TAP...` carries frames between a TAP interface in a
// namespace and a vhost-user socket, whose server is the router's net_virtio_user device. Ends at the end of stdin.
#include <halfpoll/eal.hpp>
#include <halfpoll/ethdev.hpp>
#include <halfpoll/netns.hpp>

#include <rte_mbuf.h>

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstring>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

using namespace halfpoll;

namespace
{

constexpr unsigned burst = 32, room = 9728;

struct wire {
    int tap = -1;
    std::unique_ptr<port> socket;
};

int open_tap(const std::string &netns, const std::string &name)
{
    const netns_scope scope(netns);
    const int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    ifreq request{};
    name.copy(request.ifr_name, IFNAMSIZ - 1);
    request.ifr_flags = IFF_TAP | IFF_NO_PI;
    if (fd < 0 || ioctl(fd, TUNSETIFF, &request) < 0) {
        throw_errno(errno, "TAP " + name + " in " + netns);
    }
    return fd;
}

/// `ends` has the form "SOCKET,NETNS,TAP".
wire make_wire(const std::string &ends, unsigned number, rte_mempool *pool)
{
    const auto first = ends.find(','), second = ends.find(',', first + 1);
    wire w;
    w.tap = open_tap(ends.substr(first + 1, second - first - 1), ends.substr(second + 1));
    w.socket = make_ethdev_port("net_vhost" + std::to_string(number) + ",client=1,iface=" + ends.substr(0, first));
    w.socket->open({.pool = pool});
    return w;
}

/// Passes on frames that the host has sent; returns true if there were any.
bool from_tap(wire &w, rte_mempool *pool)
{
    unsigned n = 0;
    for (; n < burst; ++n) {
        rte_mbuf *m = rte_pktmbuf_alloc(pool);
        if (!m) {
            break;
        }
        const ssize_t length = read(w.tap, rte_pktmbuf_mtod(m, void *), rte_pktmbuf_tailroom(m));
        if (length <= 0) {
            rte_pktmbuf_free(m);
            break;
        }
        rte_pktmbuf_append(m, static_cast<std::uint16_t>(length));
        if (w.socket->tx_burst(0, &m, 1) == 0) {
            rte_pktmbuf_free(m);
        }
    }
    return n != 0;
}

bool to_tap(wire &w)
{
    rte_mbuf *pkts[burst];
    const unsigned n = w.socket->rx_burst(0, pkts, burst);
    for (unsigned i = 0; i < n; ++i) {
        if (write(w.tap, rte_pktmbuf_mtod(pkts[i], const void *), pkts[i]->data_len) < 0) {
            std::cerr << "TAP: " << std::strerror(errno) << '\n';
        }
    }
    rte_pktmbuf_free_bulk(pkts, n);
    return n != 0;
}

bool input_ended()
{
    pollfd in{STDIN_FILENO, POLLIN, 0};
    char unused;
    return poll(&in, 1, 0) > 0 && read(STDIN_FILENO, &unused, 1) <= 0;
}

void carry(std::vector<wire> &wires, rte_mempool *pool)
{
    for (unsigned turn = 0; turn % 256 != 255 || !input_ended(); ++turn) {
        bool moved = false;
        for (wire &w : wires) {
            moved |= from_tap(w, pool);
            moved |= to_tap(w);
        }
        if (!moved) {
            usleep(50);
        }
    }
}

void serve(const std::vector<std::string> &ends)
{
    eal_init({.control_cpu = 1});
    rte_mempool *pool = packet_pool_create("wire", 8191, room);
    {
        std::vector<wire> wires;
        for (unsigned i = 0; i < ends.size(); ++i) {
            wires.push_back(make_wire(ends[i], i, pool));
        }
        carry(wires, pool);
        for (const wire &w : wires) {
            close(w.tap);
        }
    }
    packet_pool_free(pool);
}

} // namespace

int main(int argc, char **argv)
{
    if (argc < 2) {
        std::cerr << "usage: " << argv[0] << " SOCKET,NETNS,TAP...\n";
        return 2;
    }
    try {
        serve({argv + 1, argv + argc});
    } catch (const std::exception &e) {
        std::cerr << argv[0] << ": " << e.what() << '\n';
        return 1;
    }
    return 0;
}
