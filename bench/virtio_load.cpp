// SPDX-License-Identifier: BSD-3-Clause
//
// The polling vhost-user peer of virtio_echo: virtio_load fifo|other WINDOW_MS LOAD_SOCKET TRICKLE_SOCKET|- RATE...
// offers each RATE (packets/s; 0: as much as it can) to the first device for a window, and meanwhile single packets, 10
// a second, to the second device. Prints the counters of the ports, and the delays of the single packets. net_vhost
// counts the packets that its ring takes but not those that it refuses; therefore the packets come from a net_null
// port, which counts the offered load.
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
constexpr unsigned PAUSE_US = 250'000; // between windows, in which other tasks run
constexpr ktime_t SETTLE = 50 * NSEC_PER_MSEC;

std::unique_ptr<port> open_port(const std::string &devargs, rte_mempool *pool)
{
    auto p = make_ethdev_port(devargs);
    p->open({.descriptors = DESCRIPTORS, .pool = pool});
    return p;
}

std::unique_ptr<port> connect(unsigned number, const std::string &socket, rte_mempool *pool)
{
    return open_port("net_vhost" + std::to_string(number) + ",client=1,iface=" + socket, pool);
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

/// Passes packets of the source port on to the load port at a rate, in bursts, and frees the packets that return. The
/// packets that the full ring refuses are lost, as in a switch.
class load_generator
{
public:
    load_generator(port &source, port &load, double rate) : source_(source), load_(load), rate_(rate) {}

    void turn(ktime_t now)
    {
        const double due = static_cast<double>(now - start_) * rate_ / static_cast<double>(NSEC_PER_SEC);
        if (rate_ == 0 || static_cast<double>(passed_ + NET_BURST) <= due) {
            pass_on();
        }
        drain();
    }
    void drain()
    {
        rte_mbuf *back[NET_BURST];
        rte_pktmbuf_free_bulk(back, load_.rx_burst(0, back, NET_BURST));
    }

private:
    void pass_on()
    {
        rte_mbuf *burst[NET_BURST];
        const std::uint16_t n = source_.rx_burst(0, burst, NET_BURST);
        const std::uint16_t taken = load_.tx_burst(0, burst, n);
        rte_pktmbuf_free_bulk(burst + taken, n - taken);
        passed_ += n;
    }
    port &source_;
    port &load_;
    double rate_;
    ktime_t start_ = ktime_get();
    std::uint64_t passed_ = 0;
};

/// Sends single packets, and records the delay of each.
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
    ktime_t sent_ = ktime_get() - TRICKLE_GAP / 2; // the first packet is sent when the load has begun
};

/// The ports that the load passes through, and the port of the single packets.
struct ports {
    std::unique_ptr<port> source, load, trickle; ///< `trickle` may be null
};

struct window_result {
    double offered, accepted, returned; // packets/s
};

/// The counters of the ports at one moment.
struct counts {
    explicit counts(const ports &p) : source(p.source->counters()), load(p.load->counters()), at(ktime_get()) {}
    window_result since(const counts &before) const
    {
        const double seconds = static_cast<double>(at - before.at) / 1e9;
        return {.offered = static_cast<double>(source.rx_packets - before.source.rx_packets) / seconds,
                .accepted = static_cast<double>(load.tx_packets - before.load.tx_packets) / seconds,
                .returned = static_cast<double>(load.rx_packets - before.load.rx_packets) / seconds};
    }
    port_counters source, load;
    ktime_t at;
};

window_result window(const ports &p, rte_mempool *pool, double rate, ktime_t length, std::vector<ktime_t> &delays)
{
    load_generator generator(*p.source, *p.load, rate);
    auto probe = p.trickle ? std::make_unique<trickle_probe>(*p.trickle, pool, delays) : nullptr;
    const auto run_until = [&](ktime_t end) {
        for (ktime_t now; (now = ktime_get()) < end;) {
            generator.turn(now);
            if (probe) {
                probe->turn(now);
            }
        }
    };
    run_until(ktime_get() + SETTLE);
    const counts before(p);
    run_until(before.at + length);
    const counts after(p);
    const ktime_t limit = after.at + SETTLE;
    while ((probe && probe->under_way()) || ktime_get() < limit - SETTLE / 2) { // packets that are under way return
        generator.drain();
        if (probe) {
            probe->turn(ktime_get());
        }
        if (ktime_get() > limit + NSEC_PER_SEC) {
            throw error("a single packet was lost");
        }
    }
    return after.since(before);
}

void run(bool fifo, ktime_t length, const std::string &load_socket, const std::string &trickle_socket,
         const std::vector<double> &rates)
{
    eal_init({.control_cpu = PEER_CPU});
    rte_mempool *pool = packet_pool_create("load", 8191, 2176);
    {
        ports p{.source = open_port("net_null0,size=60", pool),
                .load = connect(0, load_socket, pool),
                .trickle = trickle_socket == "-" ? nullptr : connect(1, trickle_socket, pool)};
        wait_until_up(*p.load);
        if (p.trickle) {
            wait_until_up(*p.trickle);
        }
        usleep(PAUSE_US);
        place(PEER_CPU, fifo);
        std::vector<ktime_t> delays;
        std::printf("{\"windows\": [");
        for (std::size_t i = 0; i < rates.size(); ++i) {
            const window_result w = window(p, pool, rates[i], length, delays);
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
