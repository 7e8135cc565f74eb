// SPDX-License-Identifier: BSD-3-Clause
//
// Numbered packets of many flows through RPS to other CPUs: rps_order [--packets N] [--flows N] [--cpus N] [--queues N]
// [--thread-backlog] [--transmit] [DISTURBANCE...]. Status 1 if a packet was lost or overtook another packet of its
// flow, or if a disturbance had no effect.
//
// With --transmit the order is checked at transmit, on the one tx queue that all CPUs share.
//
//   constant  nothing changes
//   moves     flows move to other CPUs (RFS), and their entries collide because the tables are too small
//   maps      rps_cpus, rps_flow_cnt and rps_sock_flow_entries change
//   hotplug   CPUs go offline and come back, one after the other
#include "sequence_port.hpp"

#include <halfpoll/eal.hpp>
#include <halfpoll/rps.hpp>

#include <getopt.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace halfpoll;
using namespace halfpoll::test;

namespace
{

using clock_type = std::chrono::steady_clock;
using std::chrono::milliseconds;

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr std::uint64_t DEFAULT_PACKETS = 200'000;
#elif defined(__has_feature)
constexpr std::uint64_t DEFAULT_PACKETS = __has_feature(thread_sanitizer) ? 200'000 : 1'000'000;
#else
constexpr std::uint64_t DEFAULT_PACKETS = 1'000'000;
#endif

struct arguments {
    std::uint64_t packets = DEFAULT_PACKETS;
    unsigned flows = 10'000, cpus = 3, queues = 1;
    bool transmit = false;       ///< check the order at transmit
    bool thread_backlog = false; ///< backlog_napi/N instead of NET_RX
    std::vector<std::string> disturbances;
};

/// Everything that a run consists of.
struct run {
    explicit run(const arguments &args);
    ~run();
    std::vector<unsigned> all_cpus() const;
    net_device &device() { return *core->devices().front(); }
    rps_counters counters();

    rte_mempool *pool;
    runtime rt;
    std::unique_ptr<net_core> core;
    sequence packets;
    unsigned went = 0; ///< times a CPU went offline
    bool transmit = false;
    bool moves = false; ///< consumers record that flows move; constant while packets flow
};

/// A change that is made repeatedly on the control thread while packets flow.
struct disturbance {
    const char *name;
    milliseconds period;
    std::function<void(run &)> begin;                    ///< before the first packet
    std::function<void(run &, unsigned)> step;           ///< every period, with the number of the turn
    std::function<const char *(run &)> nothing_happened; ///< returns null, or the effect that is missing
};

runtime_options options_of(const arguments &args)
{
    runtime_options options;
    options.cpus.assign(args.cpus, cpu_options{});
    if (args.thread_backlog) {
        options.exclusion = exclusion_mode::big;
        options.thread_backlog_napi = true;
    }
    return options;
}

/// Returns a cheap number that differs from packet to packet.
std::uint32_t scramble(const rte_mbuf *m) { return (flow_of(m) * 2654435761U) ^ (number_of(m) * 2246822519U); }

void deliver(void *ctx, net_cpu &cpu, net_device &in, rte_mbuf **pkts, unsigned n) noexcept
{
    run &r = *static_cast<run *>(ctx);
    for (unsigned i = 0; i < n; ++i) {
        if (!r.transmit) {
            r.packets.check(cpu.id, pkts[i]);
        }
        const std::uint32_t dice = scramble(pkts[i]);
        if (r.moves && dice >> 28 == 0 && (pkts[i]->ol_flags & RTE_MBUF_F_RX_RSS_HASH)) {
            rps_record_sock_flow(*r.core, pkts[i]->hash.rss, dice % r.core->cpus());
        }
    }
    if (r.transmit) {
        dev_queue_xmit(cpu, in, pkts, n);
    } else {
        rte_pktmbuf_free_bulk(pkts, n);
    }
}

run::run(const arguments &args)
    : pool(packet_pool_create("rps_order", 8191, 256)), rt(options_of(args)),
      core(std::make_unique<net_core>(rt, pool)), packets(pool, args.flows, args.queues, args.cpus, args.packets),
      transmit(args.transmit)
{
    core->set_rx_handler(deliver, this);
}

run::~run()
{
    core.reset();
    packet_pool_free(pool);
}

std::vector<unsigned> run::all_cpus() const
{
    std::vector<unsigned> cpus;
    for (unsigned c = 0; c < core->cpus(); ++c) {
        cpus.push_back(c);
    }
    return cpus;
}

rps_counters run::counters()
{
    rps_counters sum;
    for (const auto &queue : device().queues) {
        const rps_counters c = rps_counters_of(*queue);
        sum.steered += c.steered;
        sum.direct += c.direct;
        sum.moved += c.moved;
        sum.put_off += c.put_off;
        sum.pauses += c.pauses;
    }
    return sum;
}

void configure(run &r, const rps_config &config)
{
    for (const auto &queue : r.device().queues) {
        rps_configure(*queue, config);
    }
}

void change_maps(run &r, unsigned turn)
{
    std::vector<unsigned> map;
    for (unsigned c = 0; c < r.core->cpus(); ++c) {
        if (turn >> c & 1) {
            map.push_back(c);
        }
    }
    const unsigned flow_cnt[] = {0, 64, 4096, 0, 256};
    configure(r, {.rps_cpus = map, .rps_flow_cnt = flow_cnt[turn % 5]});
    set_rps_sock_flow_entries(*r.core, turn % 3 * 512);
}

void change_cpus(run &r, unsigned turn)
{
    const unsigned cpu = turn / 2 % r.core->cpus();
    if (turn % 2 == 0) {
        r.rt.cpu_down(cpu);
        ++r.went;
    } else {
        r.rt.cpu_up(cpu);
    }
}

const disturbance disturbances[] = {
    {.name = "constant",
     .period = milliseconds(50),
     .begin = [](run &) {},
     .step = [](run &, unsigned) {},
     .nothing_happened = [](run &r) { return r.counters().steered == r.packets.packets() ? nullptr : "steering"; }},
    {.name = "moves",
     .period = milliseconds(5),
     .begin =
         [](run &r) {
             r.moves = true;
             set_rps_sock_flow_entries(*r.core, 1024);
             configure(r, {.rps_cpus = r.all_cpus(), .rps_flow_cnt = 2048});
         },
     .step = [](run &, unsigned) {},
     .nothing_happened =
         [](run &r) { return r.counters().moved > 100 && r.counters().put_off > 0 ? nullptr : "moves"; }},
    {.name = "maps",
     .period = milliseconds(5),
     .begin = [](run &r) { r.moves = true; },
     .step = change_maps,
     .nothing_happened =
         [](run &r) { return r.counters().direct + r.counters().moved > 0 ? nullptr : "changes of the map"; }},
    {.name = "hotplug",
     .period = milliseconds(10),
     .begin = [](run &) {},
     .step = change_cpus,
     .nothing_happened = [](run &r) { return r.went >= 3 ? nullptr : "CPUs that went"; }},
};

arguments parse(int argc, char **argv)
{
    arguments args;
    const option longs[] = {{"packets", required_argument, nullptr, 'p'},
                            {"flows", required_argument, nullptr, 'f'},
                            {"cpus", required_argument, nullptr, 'c'},
                            {"queues", required_argument, nullptr, 'q'},
                            {"thread-backlog", no_argument, nullptr, 't'},
                            {"transmit", no_argument, nullptr, 'x'},
                            {}};
    for (int c; (c = getopt_long(argc, argv, "", longs, nullptr)) != -1;) {
        const auto number = optarg ? std::strtoull(optarg, nullptr, 10) : 0;
        switch (c) {
        case 'p':
            args.packets = number;
            break;
        case 'f':
            args.flows = static_cast<unsigned>(number);
            break;
        case 'c':
            args.cpus = static_cast<unsigned>(number);
            break;
        case 'q':
            args.queues = static_cast<unsigned>(number);
            break;
        case 'x':
            args.transmit = true;
            break;
        case 't':
            args.thread_backlog = true;
            break;
        default:
            std::exit(2);
        }
    }
    args.disturbances.assign(argv + optind, argv + argc);
    if (args.disturbances.empty()) {
        args.disturbances = {"constant"};
    }
    if (args.packets == 0 || args.cpus == 0 || args.queues == 0 || args.flows < args.queues) {
        std::fprintf(stderr, "rps_order: nothing to do with these numbers\n");
        std::exit(2);
    }
    return args;
}

const disturbance &find(const std::string &name)
{
    for (const disturbance &d : disturbances) {
        if (name == d.name) {
            return d;
        }
    }
    throw error("rps_order: no disturbance is called \"" + name + "\"");
}

/// Runs until all packets are accounted for; returns false if there is no progress.
bool run_to_end(run &r, const std::vector<const disturbance *> &chosen)
{
    constexpr auto patience = std::chrono::seconds(60); // without any progress
    std::vector<clock_type::time_point> due(chosen.size(), clock_type::now());
    std::vector<unsigned> turns(chosen.size());
    std::uint64_t before = 0;
    auto progress = clock_type::now();
    for (;;) {
        const auto now = clock_type::now();
        for (std::size_t i = 0; i < chosen.size(); ++i) {
            if (now >= due[i]) {
                chosen[i]->step(r, turns[i]++);
                due[i] = now + chosen[i]->period;
            }
        }
        const std::uint64_t done = r.packets.delivered();
        if (done == r.packets.packets()) {
            return true;
        }
        if (std::exchange(before, done) != done) {
            progress = now;
        } else if (now - progress > patience) {
            return false;
        }
        std::this_thread::sleep_for(milliseconds(1));
    }
}

int report(run &r, bool whole, double seconds, const std::vector<const disturbance *> &chosen)
{
    const rps_counters c = r.counters();
    const std::uint64_t delivered = r.packets.delivered();
    std::printf("%llu packets, %llu lost, %llu out of order, %.2f Mpps; steered %llu, direct %llu, moved %llu, "
                "put off %llu, pauses %llu; by CPU",
                static_cast<unsigned long long>(r.packets.packets()),
                static_cast<unsigned long long>(r.packets.packets() - delivered),
                static_cast<unsigned long long>(r.packets.reordered()), static_cast<double>(delivered) / seconds / 1e6,
                static_cast<unsigned long long>(c.steered), static_cast<unsigned long long>(c.direct),
                static_cast<unsigned long long>(c.moved), static_cast<unsigned long long>(c.put_off),
                static_cast<unsigned long long>(c.pauses));
    for (unsigned cpu = 0; cpu < r.core->cpus(); ++cpu) {
        std::printf(" %llu", static_cast<unsigned long long>(r.packets.delivered_on(cpu)));
    }
    std::printf("\n");
    bool good = whole && r.packets.reordered() == 0;
    for (const disturbance *d : chosen) {
        if (const char *what = d->nothing_happened(r)) {
            std::printf("%s: there were no %s worth mention\n", d->name, what);
            good = false;
        }
    }
    return good ? 0 : 1;
}

int run_all(const arguments &args)
{
    eal_init({});
    std::vector<const disturbance *> chosen;
    for (const std::string &name : args.disturbances) {
        chosen.push_back(&find(name));
    }
    run r(args);
    net_device_options options;
    options.name = "sequence";
    options.rx_queues = args.queues;
    options.rps.rps_cpus = r.all_cpus();
    r.packets.pause(true); // until everything is set up
    net_device &dev = r.core->register_netdevice(std::make_unique<sequence_port>(r.packets), options);
    for (const disturbance *d : chosen) {
        d->begin(r);
    }
    const auto start = clock_type::now();
    r.packets.pause(false);
    const bool whole = run_to_end(r, chosen);
    const std::chrono::duration<double> took = clock_type::now() - start;
    const int status = report(r, whole, took.count(), chosen);
    r.core->unregister_netdevice(dev);
    return status;
}

} // namespace

int main(int argc, char **argv)
{
    try {
        return run_all(parse(argc, argv));
    } catch (const error &e) {
        std::fprintf(stderr, "%s\n", e.what());
        return 1;
    }
}
