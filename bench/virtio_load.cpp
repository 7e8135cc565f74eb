// SPDX-License-Identifier: BSD-3-Clause
//
// The polling vhost-user peer of virtio_echo: virtio_load FIFO WINDOW_MS LOAD_SOCKET TRICKLE_SOCKET|- RATE... offers
// each RATE (packets/s; 0: all it can) to the first device for a window, and meanwhile single packets, 10 a second, to
// the second. Prints what the device's counters say was offered and what came back, and the delays of the single
// packets.
#include "virtio_bench.hpp"

#include <halfpoll/eal.hpp>
#include <halfpoll/ethdev.hpp>
#include <halfpoll/net_core.hpp>

#include <rte_mbuf.h>
#include <rte_mempool.h>

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

using namespace halfpoll;
using namespace halfpoll::bench;

namespace
{

constexpr ktime_t TRICKLE_GAP = 100 * NSEC_PER_MSEC;
constexpr unsigned PAUSE_US = 250'000; // between windows: others may run
constexpr ktime_t SETTLE = 50 * NSEC_PER_MSEC;

std::unique_ptr<port> connect(unsigned number, const std::string &socket, rte_mempool *pool)
{
    auto p = make_ethdev_port("net_vhost" + std::to_string(number) + ",client=1,iface=" + socket);
    p->open({.descriptors = DESCRIPTORS, .pool = pool});
    return p;
}

void wait_until_up(port &p)
{
    for (unsigned i = 0; i < 10'000; ++i) {
        if (p.link().up) {
            return;
        }
        usleep(1000);
    }
    throw error("no virtio_user device connected within 10 s");
}

/// Offers packets at a rate, in bursts, and takes back what returns. What the full ring refuses is lost, as at a port
/// that overruns; the driver does not count that, so it is counted here.
class load_generator
{
public:
    load_generator(port &p, rte_mempool *pool, double rate) : port_(p), pool_(pool), rate_(rate), start_(ktime_get()) {}
    ~load_generator() { rte_pktmbuf_free_bulk(burst_, ready_); }

    void turn(ktime_t now)
    {
        const double due = static_cast<double>(now - start_) * rate_ / static_cast<double>(NSEC_PER_SEC);
        if (rate_ == 0 || static_cast<double>(offered_ + NET_BURST) <= due) {
            offer();
        }
        drain();
    }
    void drain()
    {
        rte_mbuf *back[NET_BURST];
        rte_pktmbuf_free_bulk(back, port_.rx_burst(0, back, NET_BURST));
    }

    std::uint64_t offered() const { return offered_; }

private:
    void offer()
    {
        if (ready_ < NET_BURST) {
            if (rte_pktmbuf_alloc_bulk(pool_, burst_ + ready_, NET_BURST - ready_) != 0) {
                throw error("the load generator is out of packets");
            }
            for (; ready_ < NET_BURST; ++ready_) {
                rte_pktmbuf_append(burst_[ready_], 60);
            }
        }
        const unsigned sent = port_.tx_burst(0, burst_, NET_BURST);
        std::copy(burst_ + sent, burst_ + NET_BURST, burst_); // buffers of refused packets are used again
        ready_ -= sent;
        offered_ += NET_BURST;
    }
    port &port_;
    rte_mempool *pool_;
    double rate_;
    ktime_t start_;
    std::uint64_t offered_ = 0;
    unsigned ready_ = 0;
    rte_mbuf *burst_[NET_BURST];
};

/// One packet after the other, and how long each took.
class trickle_probe
{
public:
    trickle_probe(port &p, rte_mempool *pool, std::vector<ktime_t> &delays) : port_(p), pool_(pool), delays_(delays) {}
    void turn(ktime_t now)
    {
        if (!under_way_ && now - sent_ >= TRICKLE_GAP) {
            rte_mbuf *m = rte_pktmbuf_alloc(pool_);
            if (!m || !rte_pktmbuf_append(m, 60) || port_.tx_burst(0, &m, 1) != 1) {
                throw error("a single packet could not be sent");
            }
            under_way_ = true;
            sent_ = now;
        }
        rte_mbuf *back;
        if (under_way_ && port_.rx_burst(0, &back, 1) == 1) {
            rte_pktmbuf_free(back);
            under_way_ = false;
            delays_.push_back(ktime_get() - sent_);
        }
    }
    bool under_way() const { return under_way_; }

private:
    port &port_;
    rte_mempool *pool_;
    std::vector<ktime_t> &delays_;
    bool under_way_ = false;
    ktime_t sent_ = ktime_get() - TRICKLE_GAP / 2; // the first falls into the loaded time
};

struct window_result {
    double offered, accepted, returned; // packets/s
};

window_result window(port &load, port *trickle, rte_mempool *pool, double rate, ktime_t length,
                     std::vector<ktime_t> &delays)
{
    load_generator generator(load, pool, rate);
    std::unique_ptr<trickle_probe> probe = trickle ? std::make_unique<trickle_probe>(*trickle, pool, delays) : nullptr;
    const ktime_t start = ktime_get() + SETTLE;
    port_counters before{};
    std::uint64_t offered_before = 0;
    ktime_t now, counted_from = 0;
    while ((now = ktime_get()) < start + length) {
        if (counted_from == 0 && now >= start) {
            before = load.counters();
            offered_before = generator.offered();
            counted_from = now;
        }
        generator.turn(now);
        if (probe) {
            probe->turn(now);
        }
    }
    const port_counters after = load.counters();
    const double seconds = static_cast<double>(ktime_get() - counted_from) / 1e9;
    const ktime_t limit = ktime_get() + SETTLE;
    while ((probe && probe->under_way()) || ktime_get() < limit - SETTLE / 2) { // what is still under way comes home
        generator.drain();
        if (probe) {
            probe->turn(ktime_get());
        }
        if (ktime_get() > limit + NSEC_PER_SEC) {
            throw error("a single packet was lost");
        }
    }
    return {.offered = static_cast<double>(generator.offered() - offered_before) / seconds,
            .accepted = static_cast<double>(after.tx_packets - before.tx_packets) / seconds,
            .returned = static_cast<double>(after.rx_packets - before.rx_packets) / seconds};
}

void run(bool fifo, ktime_t length, const std::string &load_socket, const std::string &trickle_socket,
         const std::vector<double> &rates)
{
    eal_init({.control_cpu = PEER_CPU});
    rte_mempool *pool = packet_pool_create("load", 8191, 2176);
    {
        auto load = connect(0, load_socket, pool);
        auto trickle = trickle_socket == "-" ? nullptr : connect(1, trickle_socket, pool);
        wait_until_up(*load);
        if (trickle) {
            wait_until_up(*trickle);
        }
        usleep(PAUSE_US);
        place(PEER_CPU, fifo);
        std::vector<ktime_t> delays;
        std::printf("{\"windows\": [");
        for (std::size_t i = 0; i < rates.size(); ++i) {
            const window_result w = window(*load, trickle.get(), pool, rates[i], length, delays);
            std::printf("%s{\"rate\": %.0f, \"offered\": %.0f, \"accepted\": %.0f, \"returned\": %.0f}",
                        i == 0 ? "" : ", ", rates[i], w.offered, w.accepted, w.returned);
            usleep(PAUSE_US);
        }
        std::printf("], \"delays_us\": [");
        for (std::size_t i = 0; i < delays.size(); ++i) {
            std::printf("%s%.2f", i == 0 ? "" : ", ", static_cast<double>(delays[i]) / 1e3);
        }
        std::printf("]}\n");
    }
    packet_pool_free(pool);
}

} // namespace

int main(int argc, char **argv)
{
    if (argc < 6) {
        std::fprintf(stderr, "usage: %s fifo|other WINDOW_MS LOAD_SOCKET TRICKLE_SOCKET|- RATE...\n", argv[0]);
        return 2;
    }
    try {
        std::vector<double> rates;
        std::transform(argv + 5, argv + argc, std::back_inserter(rates), [](const char *s) { return std::atof(s); });
        run(std::strcmp(argv[1], "fifo") == 0, std::atoi(argv[2]) * NSEC_PER_MSEC, argv[3], argv[4], rates);
    } catch (const std::exception &e) {
        std::fprintf(stderr, "%s: %s\n", argv[0], e.what());
        return 1;
    }
    return 0;
}
