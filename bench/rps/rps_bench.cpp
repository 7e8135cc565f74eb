// SPDX-License-Identifier: BSD-3-Clause
// Hand-over of packets between two CPUs. Each run makes one measurement, and prints one line of JSON (see
// ../scenario_rps.py):
//   rps_bench awake  ring|ipi|thread BURST MS   cycles per packet of sender and receiver while the target polls
//   rps_bench asleep ipi|thread BURST ROUNDS    as awake, but the target has to be woken; and the time of a wake-up
//   rps_bench local  PIECES PACKETS             a CPU that hands packets to itself, in turn without and with threads
//   rps_bench local  big|thread PACKETS         as local, in one of the modes, for callgrind: prints nothing
//   rps_bench defer  MAX MS POOL                packets that are received on one CPU and freed on the other
//   rps_bench scale  1|2 MS                     packets that cost 1000 cycles each, on one CPU or two
#include <halfpoll/backlog.hpp>
#include <halfpoll/eal.hpp>
#include <halfpoll/softnet_data.hpp>

#include <rte_cycles.h>
#include <rte_mbuf.h>
#include <rte_ring.h>

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace halfpoll;

namespace
{

constexpr unsigned MBUFS = 4096;
constexpr unsigned IN_FLIGHT = 256;            ///< packets by which the sender runs ahead at most
constexpr std::uint64_t INTERRUPTED = 200'000; ///< cycles; a round this long was interrupted or preempted
constexpr int ALWAYS_POLLS = 1'000'000;        ///< us; a `busy_poll` with which the instance never sleeps

using ns_t = std::uint64_t;

ns_t thread_cpu_time(pthread_t thread)
{
    clockid_t id;
    timespec t{};
    if (pthread_getcpuclockid(thread, &id) != 0 || clock_gettime(id, &t) != 0) {
        throw error("no CPU time of a thread");
    }
    return static_cast<ns_t>(t.tv_sec) * 1'000'000'000 + static_cast<ns_t>(t.tv_nsec);
}

double cycles_of(ns_t ns) { return static_cast<double>(ns) * static_cast<double>(rte_get_tsc_hz()) / 1e9; }

/// The time of rounds that did something, without interrupted ones.
struct busy_time {
    std::uint64_t cycles = 0, packets = 0;
    void add(std::uint64_t took, unsigned n)
    {
        if (took < INTERRUPTED) {
            cycles += took;
            packets += n;
        }
    }
    double each() const { return static_cast<double>(cycles) / static_cast<double>(packets); }
};

/// The receiver of packets. It reads the number that each packet carries, and counts those that are out of order.
struct receiver {
    alignas(128) std::atomic<std::uint32_t> delivered{0}; ///< release; pairs with the acquire of the sender
    alignas(128) std::uint32_t next = 0;
    std::uint64_t wrong = 0;
    std::uint64_t first_at = 0; ///< TSC at which the last burst came
    pthread_t thread{};         ///< the thread that took the last burst
    busy_time busy;
    std::uint64_t round = 0; ///< TSC at the end of the last round

    void take(rte_mbuf *const *pkts, unsigned n) noexcept
    {
        for (unsigned i = 0; i < n; ++i) {
            wrong += *rte_pktmbuf_mtod(pkts[i], const std::uint32_t *) != next;
            ++next;
        }
        delivered.store(next, std::memory_order_release);
    }
    void end_round(unsigned n) noexcept
    {
        const std::uint64_t now = rte_rdtsc();
        if (n != 0) {
            busy.add(now - round, n);
        }
        round = now;
    }
};

receiver the_receiver;

void handler(void *, net_cpu &, net_device &, rte_mbuf **pkts, unsigned n) noexcept { the_receiver.take(pkts, n); }

/// A handler that also records which thread took the last burst, and when.
void noting_handler(void *ctx, net_cpu &cpu, net_device &in, rte_mbuf **pkts, unsigned n) noexcept
{
    the_receiver.first_at = rte_rdtsc();
    the_receiver.thread = pthread_self();
    handler(ctx, cpu, in, pkts, n);
}

napi_poll_fn real_poll;

int timed_poll(napi_struct &napi, int quota) noexcept
{
    const int work = real_poll(napi, quota);
    the_receiver.end_round(static_cast<unsigned>(work));
    return work;
}

/// The sender of packets that go round. The receiver's count shows which packets the sender owns again.
struct sender {
    std::vector<rte_mbuf *> mbufs;
    std::uint32_t sent = 0;
    busy_time busy;

    explicit sender(rte_mempool *pool) : mbufs(MBUFS)
    {
        for (rte_mbuf *&m : mbufs) {
            m = rte_pktmbuf_alloc(pool);
            if (!m || !rte_pktmbuf_append(m, 60)) {
                throw error("no packets");
            }
        }
    }
    ~sender() { rte_pktmbuf_free_bulk(mbufs.data(), MBUFS); }

    bool may_send(unsigned n) const noexcept
    {
        return sent + n - the_receiver.delivered.load(std::memory_order_acquire) <= IN_FLIGHT;
    }
    /// Writes numbers into packets, as a device writes received data, and passes them to `send` in parts of 32. Returns
    /// the cycles that this took.
    template <typename F>
    std::uint64_t round(unsigned burst, F send)
    {
        const std::uint64_t before = rte_rdtsc();
        for (unsigned done = 0; done < burst;) {
            rte_mbuf *pkts[NET_BURST];
            const unsigned n = std::min(burst - done, NET_BURST);
            for (unsigned i = 0; i < n; ++i) {
                pkts[i] = mbufs[sent % MBUFS];
                *rte_pktmbuf_mtod(pkts[i], std::uint32_t *) = sent++;
            }
            done += n;
            send(pkts, n, done == burst);
        }
        return rte_rdtsc() - before;
    }
    template <typename F>
    void run(unsigned burst, unsigned ms, F send)
    {
        const std::uint64_t end = rte_rdtsc() + rte_get_tsc_hz() / 1000 * ms;
        while (rte_rdtsc() < end) {
            if (may_send(burst)) {
                busy.add(round(burst, send), burst);
            } else {
                rte_pause();
            }
        }
        while (the_receiver.delivered.load(std::memory_order_acquire) != sent) {
            rte_pause();
        }
    }
};

/// The two CPUs, with backlogs between them.
struct rig {
    runtime rt;
    net_core core;
    net_device dev;

    rig(rte_mempool *pool, const runtime_options &options, int busy_poll) : rt(options), core(rt, pool)
    {
        dev.ifindex = 1;
        dev.name = "bench";
        core.set_rx_handler(handler, nullptr);
        for (unsigned c = 0; c < rt.cpus(); ++c) {
            napi_config config = core.cpu(c).backlog.napi.config;
            config.busy_poll = busy_poll;
            napi_configure(core.cpu(c).backlog.napi, config);
        }
    }
    void send(unsigned target, rte_mbuf **pkts, unsigned n, bool last) noexcept
    {
        enqueue_to_backlog(core.cpu(0), target, dev, pkts, n);
        if (last) {
            net_poll_end(core.cpu(0));
        }
    }
    pthread_t thread(unsigned cpu)
    {
        pthread_t found{};
        rt.call_on(cpu, [&](softnet_data &) { found = pthread_self(); });
        return found;
    }
    std::uint64_t drops() const { return core.drops(DROP_CPU_BACKLOG); }
};

std::vector<unsigned> cpus_allowed()
{
    cpu_set_t set;
    sched_getaffinity(0, sizeof set, &set);
    std::vector<unsigned> cpus;
    for (unsigned c = 0; c < CPU_SETSIZE; ++c) {
        if (CPU_ISSET(c, &set)) {
            cpus.push_back(c);
        }
    }
    if (cpus.size() < 2) {
        throw error("two CPUs are needed");
    }
    return cpus;
}

runtime_options options_of(const std::string &mode, unsigned cpus = 2)
{
    const std::vector<unsigned> allowed = cpus_allowed();
    runtime_options options;
    options.cpus.clear();
    for (unsigned c = 0; c < cpus; ++c) {
        options.cpus.push_back({.affinity = static_cast<int>(allowed[c])});
    }
    if (mode == "thread" || mode == "big") {
        options.exclusion = exclusion_mode::big;
        options.thread_backlog_napi = mode == "thread";
    }
    options.warn = [](const std::string &what) { std::fprintf(stderr, "%s\n", what.c_str()); };
    return options;
}

void pin(unsigned cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (pthread_setaffinity_np(pthread_self(), sizeof set, &set) != 0) {
        throw error("cannot be pinned to a CPU");
    }
}

void expect_complete(std::uint64_t drops = 0)
{
    if (the_receiver.wrong != 0 || drops != 0) {
        throw error(std::to_string(the_receiver.wrong) + " packets out of order, " + std::to_string(drops) +
                    " dropped");
    }
}

void print_awake(const sender &from)
{
    std::printf("{\"sender\": %.2f, \"receiver\": %.2f}\n", from.busy.each(), the_receiver.busy.each());
}

/// Measures a bare ring between two threads: one enqueues, the other dequeues and reads.
void awake_ring(rte_mempool *pool, unsigned burst, unsigned ms)
{
    const std::vector<unsigned> cpus = cpus_allowed();
    rte_ring *ring = rte_ring_create("bare", 1024, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
    if (!ring) {
        throw error("no ring");
    }
    sender from(pool);
    std::atomic<bool> stop{false};
    std::thread target([&] {
        pin(cpus[1]);
        rte_mbuf *pkts[NET_BURST];
        while (!stop.load(std::memory_order_relaxed)) {
            const unsigned n = rte_ring_sc_dequeue_burst(ring, reinterpret_cast<void **>(pkts), NET_BURST, nullptr);
            the_receiver.take(pkts, n);
            the_receiver.end_round(n);
        }
    });
    std::thread source([&] {
        pin(cpus[0]);
        from.run(burst, ms, [&](rte_mbuf **pkts, unsigned n, bool) {
            rte_ring_sp_enqueue_bulk(ring, reinterpret_cast<void **>(pkts), n, nullptr);
        });
    });
    source.join();
    stop = true;
    target.join();
    rte_ring_free(ring);
    expect_complete();
    print_awake(from);
}

/// Sends one burst after the other, each to a CPU that sleeps.
void asleep(rte_mempool *pool, const std::string &mode, unsigned burst, unsigned rounds)
{
    rig r(pool, options_of(mode), 0);
    r.core.set_rx_handler(noting_handler, nullptr);
    sender from(pool);
    std::vector<double> us;
    const auto once = [&] {
        std::uint64_t before = 0;
        r.rt.call_on(0, [&](softnet_data &) {
            before = rte_rdtsc();
            from.busy.add(from.round(burst, [&](rte_mbuf **pkts, unsigned n, bool last) { r.send(1, pkts, n, last); }),
                          burst);
        });
        while (the_receiver.delivered.load(std::memory_order_acquire) != from.sent) {
            std::this_thread::yield();
        }
        us.push_back(static_cast<double>(the_receiver.first_at - before) * 1e6 / static_cast<double>(rte_get_tsc_hz()));
        std::this_thread::sleep_for(std::chrono::microseconds(300)); // until the target sleeps again
    };
    once(); // records which thread delivers
    us.clear();
    from.busy = {};
    const ns_t spent = thread_cpu_time(the_receiver.thread);
    for (unsigned i = 0; i < rounds; ++i) {
        once();
    }
    const double receiver_cycles = cycles_of(thread_cpu_time(the_receiver.thread) - spent) / (rounds * burst);
    expect_complete(r.drops());
    std::sort(us.begin(), us.end());
    std::printf("{\"sender\": %.2f, \"receiver\": %.2f, \"p50\": %.2f, \"p99\": %.2f}\n", from.busy.each(),
                receiver_cycles, us[us.size() / 2], us[us.size() * 99 / 100]);
}

/// A device queue that always has packets and steers them to backlogs.
struct source : napi_struct {
    rig *r = nullptr;
    sender *from = nullptr;
    std::vector<unsigned> targets;
    std::atomic<std::uint64_t> left{0}; ///< packets; one writer at a time

    static int poll(napi_struct &napi, int budget) noexcept
    {
        source &s = static_cast<source &>(napi);
        net_cpu &cpu = s.r->core.cpu(0);
        const std::uint64_t left = s.left.load(std::memory_order_relaxed);
        if (left == 0) {
            if (napi_complete_done(napi, 0)) {
                napi_unmask_irq(napi);
            }
            return 0;
        }
        std::uint64_t sent = 0;
        for (const unsigned target : s.targets) {
            if (backlog_tail(cpu, target) - backlog_head(cpu, target) > IN_FLIGHT) {
                continue;
            }
            s.from->round(NET_BURST, [&](rte_mbuf **pkts, unsigned n, bool) { s.r->send(target, pkts, n, false); });
            sent += NET_BURST;
        }
        net_poll_end(cpu);
        s.left.store(left - std::min(left, sent), std::memory_order_relaxed);
        return budget;
    }
    void run(std::uint64_t packets)
    {
        left = packets;
        config.busy_poll = 0;
        netif_napi_add(r->rt.cpu(0), *this, poll);
        napi_enable(*this);
    }
    void end()
    {
        napi_disable(*this);
        netif_napi_del(*this);
    }
};

sender *the_sender;
void (*real_kick_idle_backlogs)(softnet_data &) noexcept;

/// Measures the end of the sender's turn, which is part of the cost of a hand-over.
void timed_kick_idle_backlogs(softnet_data &sd) noexcept
{
    const std::uint64_t before = rte_rdtsc();
    real_kick_idle_backlogs(sd);
    the_sender->busy.add(rte_rdtsc() - before, 0);
}

/// A device queue that receives one burst in each poll, and hands it over.
struct timed_source : napi_struct {
    rig *r = nullptr;
    unsigned burst = 0;
    std::uint64_t end_at = 0; ///< TSC
    std::atomic<bool> ended{false};

    static int poll(napi_struct &napi, int budget) noexcept
    {
        timed_source &s = static_cast<timed_source &>(napi);
        if (rte_rdtsc() >= s.end_at) {
            s.ended = true;
            if (napi_complete_done(napi, 0)) {
                napi_unmask_irq(napi);
            }
            return 0;
        }
        if (the_sender->may_send(s.burst)) {
            const std::uint64_t took = the_sender->round(
                s.burst, [&](rte_mbuf **pkts, unsigned n, bool last) { s.r->send(1, pkts, n, last); });
            the_sender->busy.add(took, s.burst);
        }
        return budget;
    }
};

void awake(rte_mempool *pool, const std::string &mode, unsigned burst, unsigned ms)
{
    rig r(pool, options_of(mode), ALWAYS_POLLS);
    sender from(pool);
    the_sender = &from;
    net_cpu &target = r.core.cpu(1);
    napi_disable(target.backlog.napi);
    real_poll = target.backlog.napi.poll;
    target.backlog.napi.poll = timed_poll;
    napi_enable(target.backlog.napi);
    r.rt.call_on(0, [](softnet_data &sd) {
        real_kick_idle_backlogs = std::exchange(sd.kick_idle_backlogs, timed_kick_idle_backlogs);
    });
    timed_source queue;
    queue.r = &r;
    queue.burst = burst;
    queue.config.busy_poll = 0;
    queue.end_at = rte_rdtsc() + rte_get_tsc_hz() / 1000 * ms;
    netif_napi_add(r.rt.cpu(0), queue, timed_source::poll);
    napi_enable(queue);
    while (!queue.ended || the_receiver.delivered.load(std::memory_order_acquire) != from.sent) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    napi_disable(queue);
    netif_napi_del(queue);
    expect_complete(r.drops());
    print_awake(from);
}

/// A device queue that takes a buffer from the pool for each packet. The other CPU frees it.
struct receiving_source : napi_struct {
    rig *r = nullptr;
    std::uint64_t end_at = 0; ///< TSC
    std::atomic<bool> ended{false};
    std::uint32_t sent = 0;
    busy_time busy;

    static int poll(napi_struct &napi, int budget) noexcept
    {
        receiving_source &s = static_cast<receiving_source &>(napi);
        if (rte_rdtsc() >= s.end_at) {
            s.ended = true;
            if (napi_complete_done(napi, 0)) {
                napi_unmask_irq(napi);
            }
            return 0;
        }
        if (s.sent + NET_BURST - the_receiver.delivered.load(std::memory_order_acquire) <= IN_FLIGHT) {
            s.receive();
        }
        return budget;
    }
    void receive() noexcept
    {
        net_cpu &cpu = r->core.cpu(0);
        const std::uint64_t before = rte_rdtsc();
        rte_mbuf *pkts[NET_BURST];
        skb_defer_flush(cpu);
        if (rte_pktmbuf_alloc_bulk(r->core.pool(), pkts, NET_BURST) != 0) {
            return;
        }
        for (rte_mbuf *m : pkts) {
            m->data_len = 60;
            m->pkt_len = 60;
            *rte_pktmbuf_mtod(m, std::uint32_t *) = sent++;
        }
        r->send(1, pkts, NET_BURST, true);
        busy.add(rte_rdtsc() - before, NET_BURST);
    }
};

void consume(void *ctx, net_cpu &cpu, net_device &in, rte_mbuf **pkts, unsigned n) noexcept
{
    handler(ctx, cpu, in, pkts, n);
    consume_packets(cpu, pkts, n);
}

void defer(rte_mempool *pool, unsigned max, unsigned ms)
{
    rig r(pool, options_of("ipi"), ALWAYS_POLLS);
    r.core.set_skb_defer_max(max);
    r.core.set_rx_handler(consume, nullptr);
    net_cpu &target = r.core.cpu(1);
    napi_disable(target.backlog.napi);
    real_poll = target.backlog.napi.poll;
    target.backlog.napi.poll = timed_poll;
    napi_enable(target.backlog.napi);
    receiving_source queue;
    queue.r = &r;
    queue.config.busy_poll = 0;
    queue.end_at = rte_rdtsc() + rte_get_tsc_hz() / 1000 * ms;
    netif_napi_add(r.rt.cpu(0), queue, receiving_source::poll);
    napi_enable(queue);
    while (!queue.ended || the_receiver.delivered.load(std::memory_order_acquire) != queue.sent) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    napi_disable(queue);
    netif_napi_del(queue);
    expect_complete(r.drops());
    std::printf("{\"sender\": %.2f, \"receiver\": %.2f, \"deferred\": %.3f, \"kicks\": %.5f}\n", queue.busy.each(),
                the_receiver.busy.each(), static_cast<double>(target.defer.deferred) / queue.sent,
                static_cast<double>(r.rt.cpu(0).stats.received_rps) / queue.sent);
}

std::atomic<std::uint64_t> counted{0};
pthread_t counted_by; ///< the thread that counted last

void count(void *, net_cpu &, net_device &, rte_mbuf **pkts, unsigned n) noexcept
{
    std::uint64_t sum = 0;
    for (unsigned i = 0; i < n; ++i) {
        sum += *rte_pktmbuf_mtod(pkts[i], const std::uint32_t *) != 0;
    }
    counted_by = pthread_self();
    counted.fetch_add(n, std::memory_order_release); // pairs with the loads in piece() and local_count()
    static_cast<void>(sum);
}

/// A handler that costs about 1000 cycles per packet: 250 multiplications, each of which needs the previous result.
void work(void *, net_cpu &, net_device &, rte_mbuf **pkts, unsigned n) noexcept
{
    thread_local std::uint64_t x = 1;
    for (unsigned i = 0; i < n; ++i) {
        x += *rte_pktmbuf_mtod(pkts[i], const std::uint32_t *);
        for (unsigned k = 0; k < 250; ++k) {
            x = x * 6364136223846793005U + 1442695040888963407U;
        }
    }
    counted.fetch_add(n, std::memory_order_relaxed);
}

/// A CPU that steers packets to itself.
struct local_rig {
    rig r;
    source s;
    const pthread_t thread;

    local_rig(rte_mempool *pool, sender &from, const runtime_options &options)
        : r(pool, options, 0), thread(r.thread(0))
    {
        s.r = &r;
        s.from = &from;
        s.targets = {0};
        r.core.set_rx_handler(count, nullptr);
        s.run(0);
    }
    ~local_rig() { s.end(); }
    void wait_until_asleep()
    {
        while (r.rt.cpu(0).sleeping.load(std::memory_order_relaxed) == 0) {
            std::this_thread::sleep_for(std::chrono::microseconds(50));
        }
    }
    /// Returns the cycles per packet of the CPU's own thread for `packets` packets, from the interrupt until it sleeps.
    double piece(std::uint64_t packets)
    {
        wait_until_asleep();
        counted = 0;
        const ns_t spent = thread_cpu_time(thread);
        s.left = packets;
        napi_schedule(s);
        while (counted < packets) {
            std::this_thread::sleep_for(std::chrono::microseconds(50));
        }
        wait_until_asleep();
        if (counted_by != thread) {
            throw error("packets for the own CPU were delivered by another thread");
        }
        return cycles_of(thread_cpu_time(thread) - spent) / static_cast<double>(packets);
    }
};

double median_of(std::vector<double> values)
{
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

/// Measures pieces of both modes with the same packets on the same CPU, in one process. Each piece runs next to one of
/// the other mode.
void local(rte_mempool *pool, unsigned pieces, std::uint64_t packets)
{
    sender from(pool);
    std::unique_ptr<local_rig> rigs[2];
    const unsigned first = rte_rdtsc() >> 4 & 1; // random, since the order of the rigs' memory makes a difference
    for (const unsigned i : {first, 1 - first}) {
        rigs[i] = std::make_unique<local_rig>(pool, from, options_of(i == 0 ? "big" : "thread", 1));
    }
    std::vector<double> cost[2], ratios;
    for (unsigned n = 0; n < pieces; ++n) {
        double now[2];
        for (const unsigned i : {n % 2, 1 - n % 2}) {
            now[i] = rigs[i]->piece(packets);
            cost[i].push_back(now[i]);
        }
        ratios.push_back(now[1] / now[0]);
    }
    std::printf("{\"big\": %.3f, \"thread\": %.3f, \"ratio\": %.4f}\n", median_of(cost[0]), median_of(cost[1]),
                median_of(ratios));
}

/// Runs one mode for callgrind. Nothing depends on time, so that the same instructions run each time. The CPU never
/// sleeps, because valgrind 3.19 runs no other thread while one waits in io_uring_enter().
void local_count(rte_mempool *pool, const std::string &mode, std::uint64_t packets)
{
    runtime_options options = options_of(mode, 1);
    options.clock = []() noexcept { return ktime_t{1}; };
    options.interrupts = false;
    sender from(pool);
    local_rig r(pool, from, options);
    r.s.left = packets;
    napi_schedule(r.s);
    while (counted < packets) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
}

void scale(rte_mempool *pool, unsigned cpus, unsigned ms)
{
    rig r(pool, options_of("ipi"), 0);
    sender from(pool);
    source s;
    s.r = &r;
    s.from = &from;
    s.targets = cpus == 2 ? std::vector<unsigned>{1, 0} : std::vector<unsigned>{0, 0};
    r.core.set_rx_handler(work, nullptr);
    const pthread_t threads[] = {r.thread(0), r.thread(1)};
    s.run(UINT64_MAX);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    const std::uint64_t packets = counted;
    const ns_t before[] = {thread_cpu_time(threads[0]), thread_cpu_time(threads[1])};
    std::this_thread::sleep_for(std::chrono::milliseconds(ms));
    const double done = static_cast<double>(counted - packets);
    const ns_t spent = std::max(thread_cpu_time(threads[0]) - before[0], thread_cpu_time(threads[1]) - before[1]);
    s.end();
    r.rt.call_on(0, [&](softnet_data &) { flush_backlog(r.core.cpu(0)); });
    r.rt.call_on(1, [&](softnet_data &) { flush_backlog(r.core.cpu(1)); });
    std::printf("{\"mpps\": %.4f}\n", done * 1000 / static_cast<double>(spent));
}

unsigned number_of(const std::vector<std::string> &args, std::size_t i)
{
    return static_cast<unsigned>(std::strtoul(args.at(i).c_str(), nullptr, 10));
}

void measure(const std::vector<std::string> &args)
{
    eal_options eal;
    eal.control_cpu = cpus_allowed().front();
    eal_init(eal);
    const std::string &what = args.at(0);
    rte_mempool *pool = packet_pool_create("bench", what == "defer" ? number_of(args, 3) : 2 * MBUFS, 2176);
    const auto number = [&](std::size_t i) { return number_of(args, i); };
    if (what == "awake" && args.at(1) == "ring") {
        awake_ring(pool, number(2), number(3));
    } else if (what == "awake") {
        awake(pool, args.at(1), number(2), number(3));
    } else if (what == "asleep") {
        asleep(pool, args.at(1), number(2), number(3));
    } else if (what == "local" && (args.at(1) == "big" || args.at(1) == "thread")) {
        local_count(pool, args.at(1), number(2));
    } else if (what == "local") {
        local(pool, number(1), number(2));
    } else if (what == "defer") {
        defer(pool, number(1), number(2));
    } else if (what == "scale") {
        scale(pool, number(1), number(2));
    } else {
        throw error("nothing called \"" + what + "\" to measure");
    }
    packet_pool_free(pool);
}

} // namespace

int main(int argc, char **argv)
{
    try {
        measure({argv + 1, argv + argc});
    } catch (const std::exception &e) {
        std::fprintf(stderr, "rps_bench: %s\n", e.what());
        return 1;
    }
    return 0;
}
