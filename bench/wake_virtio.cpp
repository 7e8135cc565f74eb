// SPDX-License-Identifier: BSD-3-Clause
//
// Round trips of single packets to an echo behind virtio_user, measured by its polling vhost-user peer in the same
// process: wake_virtio ECHO LOOP COUNT prints {"p50": us, "p99": us}.
//   ECHO  halfpoll: the runtime, hybrid; spin: the runtime, which never sleeps; bare: an epoll loop on the same fd
//   LOOP  first: each packet is sent after an idle time; pingpong: each packet is sent when the previous one is back
#include "virtio_bench.hpp"

#include <halfpoll/eal.hpp>
#include <halfpoll/ethdev.hpp>
#include <halfpoll/net_core.hpp>

#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_pause.h>

#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

using namespace halfpoll;
using namespace halfpoll::bench;

namespace
{

/// The directory of this run's socket; removed at the end.
class scratch_dir
{
public:
    scratch_dir()
    {
        if (!mkdtemp(name_)) {
            throw_errno(errno, name_);
        }
    }
    ~scratch_dir()
    {
        unlink(socket().c_str());
        rmdir(name_);
    }
    std::string socket() const { return std::string(name_) + "/sock"; }

private:
    char name_[32] = "/tmp/halfpoll-wake-XXXXXX";
};

port_options options_of(rte_mempool *pool) { return {.descriptors = DESCRIPTORS, .pool = pool}; }

struct echo {
    virtual ~echo() = default;
    virtual bool up() = 0;
};

/// The yardstick: the loop that an application would write by hand.
class bare_echo final : public echo
{
public:
    bare_echo(const std::string &devargs, rte_mempool *pool) : port_(make_ethdev_port(devargs))
    {
        port_->open(options_of(pool));
        thread_ = std::thread([this] { run(); });
    }
    ~bare_echo() override
    {
        stop_ = true;
        thread_.join();
    }
    bool up() override { return port_->link().up; }

private:
    unsigned serve()
    {
        rte_mbuf *pkts[NET_BURST];
        const std::uint16_t n = port_->rx_burst(0, pkts, NET_BURST);
        const std::uint16_t sent = n != 0 ? port_->tx_burst(0, pkts, n) : std::uint16_t{0};
        rte_pktmbuf_free_bulk(pkts + sent, n - sent);
        return n;
    }
    void run()
    {
        rte_thread_register();
        place(DUT_CPU);
        const int epoll = epoll_create1(0);
        epoll_event event{.events = EPOLLIN | EPOLLET, .data = {}};
        epoll_ctl(epoll, EPOLL_CTL_ADD, port_->wait_of(0).fd, &event);
        while (!stop_) {
            while (serve() != 0) {
            }
            port_->rx_irq_enable(0);
            if (!port_->rx_pending(0)) {
                epoll_wait(epoll, &event, 1, 100); // the timeout lets the loop see `stop_`
            }
            port_->rx_irq_disable(0);
        }
        close(epoll);
        rte_thread_unregister();
    }
    std::unique_ptr<port> port_;
    std::atomic<bool> stop_{false}; // no other data depends on it; seen within one wait
    std::thread thread_;
};

class halfpoll_echo final : public echo
{
public:
    halfpoll_echo(const std::string &devargs, rte_mempool *pool, bool spin) : rt_(options()), core_(rt_, pool)
    {
        core_.set_rx_handler([](void *, net_cpu &cpu, net_device &in, rte_mbuf **pkts,
                                unsigned n) noexcept { dev_queue_xmit(cpu, in, pkts, n); },
                             nullptr);
        net_device_options o;
        o.name = "echo";
        o.descriptors = DESCRIPTORS;
        o.force_spin = spin;
        dev_ = &core_.register_netdevice(make_ethdev_port(devargs), o);
    }
    bool up() override
    {
        core_.run_control();
        return dev_->running;
    }

private:
    static runtime_options options()
    {
        runtime_options o;
        o.cpus = {{.affinity = DUT_CPU, .fifo_priority = FIFO_PRIORITY}};
        o.warn = [](const std::string &line) { std::fprintf(stderr, "%s\n", line.c_str()); };
        return o;
    }
    runtime rt_;
    net_core core_;
    net_device *dev_ = nullptr;
};

std::unique_ptr<echo> make_echo(const std::string &kind, const std::string &devargs, rte_mempool *pool)
{
    if (kind == "bare") {
        return std::make_unique<bare_echo>(devargs, pool);
    }
    if (kind == "halfpoll" || kind == "spin") {
        return std::make_unique<halfpoll_echo>(devargs, pool, kind == "spin");
    }
    throw error("no such echo: " + kind);
}

/// Returns the time of one round trip, in ns. `m` is the packet, which the caller uses again.
ktime_t round_trip(port &peer, rte_mbuf *&m)
{
    constexpr ktime_t LOST = NSEC_PER_SEC;
    const ktime_t start = ktime_get();
    if (peer.tx_burst(0, &m, 1) != 1) {
        throw error("the peer's ring is full");
    }
    while (peer.rx_burst(0, &m, 1) == 0) {
        rte_pause();
        if (ktime_get() - start > LOST) {
            throw error("a packet did not come back within a second");
        }
    }
    return ktime_get() - start;
}

std::vector<ktime_t> probe(port &peer, rte_mempool *pool, bool after_idle, unsigned count)
{
    constexpr unsigned WARM_UP = 50;
    std::vector<ktime_t> times;
    times.reserve(count);
    std::mt19937 random(1);
    std::uniform_int_distribution<unsigned> idle_us(2000, 4000); // much longer than any adaptive spin
    rte_mbuf *m = rte_pktmbuf_alloc(pool);
    if (!m || !rte_pktmbuf_append(m, 60)) {
        throw error("no packet");
    }
    for (unsigned i = 0; i < WARM_UP + count; ++i) {
        if (after_idle) {
            usleep(idle_us(random));
        }
        const ktime_t t = round_trip(peer, m);
        if (i >= WARM_UP) {
            times.push_back(t);
        }
    }
    rte_pktmbuf_free(m);
    return times;
}

void wait_until_up(echo &e, port &peer)
{
    for (unsigned i = 0; i < 5000; ++i) {
        if (e.up() && peer.link().up) {
            usleep(100'000); // until the work of connecting is done
            return;
        }
        usleep(1000);
    }
    throw error("virtio_user and vhost-user did not connect within 5 s");
}

void run(const std::string &kind, const std::string &loop, unsigned count)
{
    eal_init({.shareable = true, .control_cpu = PEER_CPU});
    rte_mempool *pool = packet_pool_create("wake", 4095, 2176);
    {
        const scratch_dir dir;
        auto peer = make_ethdev_port("net_vhost0,iface=" + dir.socket() + ",client=1");
        peer->open(options_of(pool));
        auto e = make_echo(kind, "net_virtio_user0,path=" + dir.socket() + ",server=1", pool);
        wait_until_up(*e, *peer);
        std::vector<ktime_t> times;
        std::exception_ptr failure;
        std::thread prober([&] {
            try {
                place(PEER_CPU);
                times = probe(*peer, pool, loop == "first", count);
            } catch (...) {
                failure = std::current_exception();
            }
        });
        prober.join();
        if (failure) {
            std::rethrow_exception(failure);
        }
        e.reset();
        std::sort(times.begin(), times.end());
        std::printf("{\"p50\": %.3f, \"p99\": %.3f}\n", static_cast<double>(times[times.size() / 2]) / 1e3,
                    static_cast<double>(times[times.size() * 99 / 100]) / 1e3);
    }
    packet_pool_free(pool);
}

} // namespace

int main(int argc, char **argv)
{
    if (argc != 4) {
        std::fprintf(stderr, "usage: %s halfpoll|spin|bare first|pingpong COUNT\n", argv[0]);
        return 2;
    }
    try {
        run(argv[1], argv[2], static_cast<unsigned>(std::max(1, std::atoi(argv[3]))));
    } catch (const std::exception &e) {
        std::fprintf(stderr, "%s: %s\n", argv[0], e.what());
        return 1;
    }
    return 0;
}
