// SPDX-License-Identifier: BSD-3-Clause
// The cost of the XDP hook. 960 frames go round on DPDK port 0, whose ring is a loop, under one variant after the other
// in the same process.
//   xdp_bench EAL-OPTIONS -- CPU ROUNDS PACKETS
// Prints a line "NAME CYCLES" for each round and variant: the cycles per packet of the CPU's own thread. In variants
// that drop, and in those they are compared with, the rx callback puts as many new frames on the ring.

#include <halfpoll/eal.hpp>
#include <halfpoll/ethdev.hpp>
#include <halfpoll/net_core.hpp>
#include <halfpoll/xdp.hpp>
#include <halfpoll/xdp_map.hpp>

#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_ip.h>
#include <rte_mbuf.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

using namespace halfpoll;

namespace
{

constexpr unsigned FRAMES = 960; // whole bursts of 32 on a ring of 1024, with room for those that are under way
constexpr unsigned FRAME_LENGTH = 60;
constexpr unsigned DST_OFFSET = RTE_ETHER_HDR_LEN + offsetof(rte_ipv4_hdr, dst_addr);
constexpr std::uint32_t DST = RTE_BE32(RTE_IPV4(10, 0, 0, 1));

/// Used by the data CPU's thread.
struct {
    napi_alloc_cache *cache = nullptr;
    bool drops = false;
    std::uint64_t packets = 0, bursts = 0; ///< counts of what was received
    std::uint8_t frame[FRAME_LENGTH];
} loop;

void make_template()
{
    std::memset(loop.frame, 0, sizeof loop.frame);
    loop.frame[12] = 8;
    loop.frame[14] = 0x45;
    std::memcpy(loop.frame + DST_OFFSET, &DST, sizeof DST);
}

void fill(rte_mbuf **pkts, unsigned n)
{
    for (unsigned i = 0; i < n; ++i) {
        rte_mbuf *m = pkts[i];
        rte_pktmbuf_reset(m);
        m->data_len = FRAME_LENGTH;
        m->pkt_len = FRAME_LENGTH;
        std::memcpy(rte_pktmbuf_mtod(m, void *), loop.frame, FRAME_LENGTH);
    }
}

/// Puts n new frames on the ring, in place of those that are about to be dropped.
void refill(unsigned n)
{
    rte_mbuf *fresh[NET_BURST];
    if (!loop.cache->alloc_raw(fresh, n)) {
        std::fprintf(stderr, "xdp_bench: out of packets\n");
        std::abort();
    }
    fill(fresh, n);
    if (rte_eth_tx_burst(0, 0, fresh, static_cast<std::uint16_t>(n)) != n) {
        std::fprintf(stderr, "xdp_bench: the ring is full\n");
        std::abort();
    }
}

/// Fills the ring with FRAMES new frames, so that each variant has the same number. On the data CPU.
void renew_ring()
{
    rte_mbuf *pkts[NET_BURST];
    const bool drops = std::exchange(loop.drops, false); // keeps the rx callback from refilling
    while (const std::uint16_t n = rte_eth_rx_burst(0, 0, pkts, NET_BURST)) {
        loop.cache->free(pkts, n);
    }
    for (unsigned i = 0; i < FRAMES; i += NET_BURST) {
        refill(NET_BURST);
    }
    loop.drops = drops;
}

std::uint16_t received(std::uint16_t, std::uint16_t, rte_mbuf **, std::uint16_t n, std::uint16_t, void *)
{
    loop.packets += n;
    loop.bursts += n != 0;
    if (loop.drops && n != 0) {
        refill(n);
    }
    return n;
}

/// The receive handler, in place of a network stack: sends packets back, or drops them.
void handler(void *, net_cpu &cpu, net_device &in, rte_mbuf **pkts, unsigned n) noexcept
{
    if (loop.drops) {
        drop_packets(cpu, DROP_NO_HANDLER, pkts, n);
    } else {
        dev_queue_xmit(cpu, in, pkts, n);
    }
}

std::uint32_t destination(const halfpoll_xdp_burst &b, std::uint32_t i)
{
    std::uint32_t dst;
    std::memcpy(&dst, xdp_data(&b, i) + DST_OFFSET, sizeof dst);
    return dst;
}

/// A program that returns `action` for the frames that go round. Any other frame would be answered by XDP_ABORTED,
/// which fails the run.
std::shared_ptr<xdp_program> by_destination(std::uint8_t action)
{
    return make_xdp_program("by_destination", [action](halfpoll_xdp_burst &b, std::uint32_t i) noexcept {
        return destination(b, i) == DST ? action : std::uint8_t{XDP_ABORTED};
    });
}

/// A program that passes all packets and reads none.
class empty_program final : public xdp_program
{
public:
    empty_program() : xdp_program("empty") {}
    void run(halfpoll_xdp_burst &b) noexcept override { std::memset(b.action, XDP_PASS, sizeof b.action); }
};

/// A program that redirects the frames that go round to entry 0 of a map.
std::shared_ptr<xdp_program> to_map(const std::shared_ptr<xdp_map> &map)
{
    return make_xdp_program("to_map", [map](halfpoll_xdp_burst &b, std::uint32_t i) noexcept {
        return destination(b, i) == DST ? xdp_redirect_map(&b, i, map.get(), 0, 0) : std::uint8_t{XDP_ABORTED};
    });
}

struct variant {
    const char *name;
    std::shared_ptr<xdp_program> program; ///< null: no program
    bool drops = false;                   ///< packets are dropped, and the ring is refilled
    bool bare = false;                    ///< runs the driver only
};

std::vector<variant> make_variants(net_core &core, const net_device &dev)
{
    const auto devices = xdp_map_create(core, "devices", xdp_map_type::devmap);
    devices->update({.key = 0, .ifindex = dev.ifindex});
    const auto cpus = xdp_map_create(core, "cpus", xdp_map_type::cpumap);
    cpus->update({.key = 0, .qsize = 2048}); // the CPU itself: the rings cost the same, and no CPU waits for another
    return {{.name = "floor", .program = nullptr, .bare = true},
            {.name = "no_hook", .program = nullptr},
            {.name = "empty", .program = std::make_shared<empty_program>()},
            {.name = "pass", .program = by_destination(XDP_PASS)},
            {.name = "tx", .program = by_destination(XDP_TX)},
            {.name = "redirect_devmap", .program = to_map(devices)},
            {.name = "redirect_cpumap", .program = to_map(cpus)},
            {.name = "floor_drop", .program = nullptr, .drops = true, .bare = true},
            {.name = "no_hook_drop", .program = nullptr, .drops = true},
            {.name = "drop", .program = by_destination(XDP_DROP), .drops = true}};
}

std::int64_t thread_cpu_ns()
{
    timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return ts.tv_sec * std::int64_t{1'000'000'000} + ts.tv_nsec;
}

struct sample {
    std::int64_t ns;
    std::uint64_t packets, bursts;
};

class bench
{
public:
    bench(net_core &core, net_device &dev, std::uint64_t packets) : core_(core), dev_(dev), packets_(packets) {}

    /// Measures a variant; returns cycles per packet.
    double measure(const variant &v)
    {
        xdp_detach(core_, dev_); // without a program, handler and refill change together below
        constexpr timespec nap{.tv_sec = 0, .tv_nsec = 1'000'000};
        nanosleep(&nap, nullptr); // until packets in the cpumap's ring are on the port's ring again
        call([&] {
            loop.drops = v.drops;
            renew_ring();
        });
        if (v.program) {
            xdp_attach(core_, dev_, v.program);
        }
        const xdp_counters counted = xdp_counters_of(dev_, 0);
        run(v, packets_ / 8); // warms caches and branch predictors
        const sample from = look();
        run(v, packets_);
        const sample to = look();
        check(v, counted, from, to);
        return static_cast<double>(to.ns - from.ns) * static_cast<double>(rte_get_tsc_hz()) / 1e9 /
               static_cast<double>(to.packets - from.packets);
    }

private:
    void call(const std::function<void()> &fn)
    {
        core_.rt().call_on(0, [&](softnet_data &) { fn(); });
    }
    sample look()
    {
        sample now{};
        call([&] { now = {thread_cpu_ns(), loop.packets, loop.bursts}; });
        return now;
    }
    void run(const variant &v, std::uint64_t packets)
    {
        if (v.bare) {
            return call([&] { run_bare(packets); });
        }
        const std::uint64_t end = look().packets + packets;
        const ktime_t give_up = ktime_get() + 20 * NSEC_PER_SEC;
        do {
            constexpr timespec nap{.tv_sec = 0, .tv_nsec = 1'000'000};
            nanosleep(&nap, nullptr);
            if (ktime_get() > give_up) {
                throw error(std::string(v.name) + ": the frames do not go round" + lost());
            }
        } while (look().packets < end);
    }
    /// On the data CPU, in place of its other work.
    void run_bare(std::uint64_t packets)
    {
        rte_mbuf *pkts[NET_BURST];
        for (const std::uint64_t end = loop.packets + packets; loop.packets < end;) {
            const std::uint16_t n = rte_eth_rx_burst(0, 0, pkts, NET_BURST);
            if (loop.drops) {
                loop.cache->free(pkts, n);
            } else if (rte_eth_tx_burst(0, 0, pkts, n) != n) {
                std::abort();
            }
        }
    }
    std::string lost() const
    {
        std::string text;
        for (unsigned reason = 0; reason < DROP_NETIO_MAX; ++reason) {
            if (const std::uint64_t n = core_.drops(reason); n != 0) {
                text += std::string("; ") + to_string(static_cast<drop_reason>(reason)) + " " + std::to_string(n);
            }
        }
        return text;
    }
    static std::uint64_t met_by(const xdp_counters &c) { return c.pass + c.drop + c.tx + c.redirect; }
    /// Throws `error` unless bursts were whole and every packet met the program.
    void check(const variant &v, const xdp_counters &before, const sample &from, const sample &to) const
    {
        const xdp_counters now = xdp_counters_of(dev_, 0);
        const std::uint64_t met = met_by(now) - met_by(before);
        const double burst =
            static_cast<double>(to.packets - from.packets) / static_cast<double>(to.bursts - from.bursts);
        if (burst < 31 || now.aborted != before.aborted || (v.program ? met < to.packets - from.packets : met != 0)) {
            throw error(std::string(v.name) + ": bursts of " + std::to_string(burst) + ", " + std::to_string(met) +
                        " packets met the program");
        }
    }

    net_core &core_;
    net_device &dev_;
    std::uint64_t packets_;
};

void run(int cpu, unsigned rounds, std::uint64_t packets)
{
    runtime_options options;
    options.cpus = {cpu_options{.affinity = cpu}};
    options.warn = [](const std::string &message) { std::fprintf(stderr, "%s\n", message.c_str()); };
    runtime rt(options);
    rte_mempool *pool = packet_pool_create("rx", 4095, RTE_MBUF_DEFAULT_BUF_SIZE);
    net_core core(rt, pool);
    core.set_rx_handler(handler, nullptr);
    loop.cache = core.cpu(0).cache.get();
    net_device &dev = core.register_netdevice(make_ethdev_port("port:0"), {.name = "ring0", .rx_queues = 1});
    rt.call_on(0, [&](softnet_data &) {
        make_template();
        if (!rte_eth_add_rx_callback(0, 0, received, nullptr)) {
            throw error("no rx callback");
        }
    });
    bench b(core, dev, packets);
    std::vector<variant> variants = make_variants(core, dev);
    for (unsigned round = 0; round < rounds; ++round) {
        std::ranges::shuffle(variants, std::mt19937(round));
        for (const variant &v : variants) {
            std::printf("%s %.4f\n", v.name, b.measure(v));
        }
    }
    xdp_detach(core, dev);
    for (const auto &map : xdp_maps(core)) {
        map->clear();
    }
}

} // namespace

int main(int argc, char **argv)
{
    const int used = rte_eal_init(argc, argv);
    if (used < 0 || argc - used != 4) {
        std::fprintf(stderr, "usage: xdp_bench EAL-OPTIONS -- CPU ROUNDS PACKETS\n");
        return 1;
    }
    try {
        run(std::atoi(argv[used + 1]), static_cast<unsigned>(std::atoi(argv[used + 2])),
            std::strtoull(argv[used + 3], nullptr, 10));
    } catch (const std::exception &e) {
        std::fprintf(stderr, "xdp_bench: %s\n", e.what());
        return 1;
    }
    return 0;
}
