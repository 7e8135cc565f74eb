// SPDX-License-Identifier: BSD-3-Clause
//
// Mode `nested` under stress: nested_stress [--seconds N] [--seed N]. Status 1 if a packet was lost, was freed or sent
// twice, or overtook another packet of its path, if two threads were in a place for one, or if a thread made no
// progress; 77 if SCHED_FIFO is not available.
//
// One logical CPU has four runtime CPUs at four SCHED_FIFO priorities. Two of them also have an embedder's thread that
// is more urgent than their own. They are woken at random moments from another logical CPU, and by one another in the
// middle of a driver, a delivery or a redirect. A thread that is awake takes packets from the pool and returns them,
// sends, redirects to devices and to other CPUs, steers to their backlogs, and starts and cancels timers.
#include "../unit/pool_for_tsan.hpp"
#include "nested_port.hpp"

#include "netio/xdp/xdp_internal.hpp"

#include <halfpoll/backlog.hpp>
#include <halfpoll/eal.hpp>
#include <halfpoll/softnet_data.hpp>
#include <halfpoll/xdp_map.hpp>

#include <getopt.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <ctime>
#include <string>
#include <thread>
#include <utility>

using namespace halfpoll;
using namespace halfpoll::test;

namespace
{

using clock_type = std::chrono::steady_clock;
using std::chrono::microseconds;
using std::chrono::milliseconds;

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr unsigned DEFAULT_SECONDS = 20;
#elif defined(__has_feature)
constexpr unsigned DEFAULT_SECONDS = __has_feature(thread_sanitizer) || __has_feature(address_sanitizer) ? 20 : 120;
#else
constexpr unsigned DEFAULT_SECONDS = 120;
#endif

constexpr unsigned CPUS = 4, DEVICES = 2, POOL_PACKETS = 8191, TIMERS = 8, HOARD = 192;
constexpr int PRIORITY[CPUS] = {10, 20, 30, 40};
/// Runtime CPU and priority of each embedder's thread.
constexpr std::pair<unsigned, int> EMBEDDERS[] = {{1, 35}, {3, 45}};
constexpr auto PATIENCE = std::chrono::seconds(60); ///< without progress of one thread
/// Share of the time in which the whole program may compute. It leaves time for less urgent programs on the CPU, and
/// stays below the throttle of real-time threads.
constexpr double SHARE = 0.5;

enum path : unsigned {
    RX,
    XMIT,
    DEVMAP = XMIT + DEVICES,
    CPUMAP = DEVMAP + DEVICES,
    BACKLOG = CPUMAP + CPUS,
    PATHS = BACKLOG + CPUS
};

struct stress_run;

struct counted_timer : hrtimer {
    struct worker *owner = nullptr;
};

/// Data of a runtime CPU. Accessed only in its sections, except for the atomics.
struct worker {
    stress_run *all = nullptr;
    net_cpu *cpu = nullptr;
    std::minstd_rand random;
    std::vector<rte_mbuf *> hoard;
    std::array<counted_timer, TIMERS> timers;
    std::uint64_t started = 0, fired = 0, cancelled = 0;
    std::uint64_t dry = 0; ///< times the pool was empty
    unsigned pick(unsigned n) { return static_cast<unsigned>(random() % n); }
};

/// A thread that is woken: a runtime CPU's own thread by a call, or an embedder's thread.
struct sleeper {
    std::atomic<bool> idle{true}; ///< acquire in wake(), pairs with the release in done()
    std::atomic<std::int64_t> woken_at{0};
    std::atomic<std::uint64_t> runs{0};
    std::atomic<std::int64_t> longest{0}; ///< ns from wake-up to running
    std::function<void()> wake;
    std::string name;
};

std::int64_t now_ns() { return clock_type::now().time_since_epoch().count(); }

/// Everything that a run consists of.
struct stress_run {
    stress_run(unsigned seed, int cpu);
    void prepare(unsigned c);
    void add_device(unsigned d);
    void start_embedder(unsigned i);
    void embed(unsigned cpu, int priority, sleeper &self, sem_t &bell);
    bool wake(sleeper &s);
    void disturb();
    void control(unsigned turn);
    bool drive(unsigned seconds);
    void wake_somebody();
    bool progress();
    bool at_rest() const;
    bool give_back();
    bool settle();
    std::uint64_t dropped() const;
    bool report() const;
    bool end();

    std::minstd_rand random; ///< of the driving thread
    ledger books{CPUS, PATHS};
    rte_mempool *pool;
    pool_for_tsan seen{pool};
    std::string refused;
    std::unique_ptr<runtime> rt;
    std::unique_ptr<net_core> core;
    std::array<worker, CPUS> workers;
    std::array<net_device *, DEVICES> devs{};
    std::array<nested_port *, DEVICES> drivers{};
    std::shared_ptr<xdp_map> devmap, cpumap;
    std::array<sleeper, CPUS + std::size(EMBEDDERS)> sleepers;
    std::array<call_single_data, CPUS> calls;
    std::array<sem_t, std::size(EMBEDDERS)> bells;
    std::vector<std::thread> embedders;
    std::atomic<unsigned> started{0}; ///< embedders' threads that are attached
    std::atomic<int> echoes{0};       ///< how often threads may still wake one another
    std::atomic<unsigned> dice{0};
    std::atomic<bool> stop{false};
    struct watch {
        std::uint64_t runs = 0;
        clock_type::time_point since = clock_type::now();
    };
    std::array<watch, CPUS + std::size(EMBEDDERS) + CPUS> watches; ///< over sleepers and rx queues
};

// --- what a thread does in a section ---

/// Takes up to n packets out of the hoard and records them as sent by `path`.
unsigned take(worker &w, rte_mbuf **pkts, unsigned n, unsigned path)
{
    n = std::min<unsigned>(n, static_cast<unsigned>(w.hoard.size()));
    for (unsigned i = 0; i < n; ++i) {
        pkts[i] = w.hoard.back();
        w.hoard.pop_back();
        w.all->books.send(*pkts[i], w.cpu->id, path);
    }
    return n;
}

void alloc(worker &w)
{
    rte_mbuf *pkts[64];
    const unsigned n = std::min(1 + w.pick(64), HOARD - static_cast<unsigned>(w.hoard.size()));
    if (n == 0) {
        return;
    }
    if (!w.cpu->cache->alloc_raw(pkts, n)) {
        ++w.dry;
        return;
    }
    for (unsigned i = 0; i < n; ++i) {
        rte_pktmbuf_reset(pkts[i]);
        rte_pktmbuf_append(pkts[i], 60);
        w.all->books.allocated(*pkts[i], w.cpu->id);
        w.hoard.push_back(pkts[i]);
    }
}

void free_some(worker &w, unsigned n)
{
    for (; n != 0 && !w.hoard.empty(); --n) {
        rte_mbuf *m = w.hoard.back();
        w.hoard.pop_back();
        w.all->books.give(*m, w.cpu->id);
        consume_packets(*w.cpu, &m, 1);
    }
}

void xmit(worker &w, unsigned most)
{
    rte_mbuf *pkts[64];
    const unsigned d = w.pick(DEVICES);
    if (const unsigned n = take(w, pkts, 1 + w.pick(most), XMIT + d)) {
        dev_queue_xmit(*w.cpu, *w.all->devs[d], pkts, n);
    }
}

/// Redirects packets to a device or another runtime CPU. Packets for which there is no entry return to the hoard.
void redirect(worker &w)
{
    rte_mbuf *pkts[64];
    const bool device = w.pick(2) == 0;
    const unsigned key = w.pick(device ? DEVICES : CPUS);
    halfpoll_xdp_burst burst{};
    burst.n = take(w, pkts, 1 + w.pick(40), (device ? DEVMAP : CPUMAP) + key);
    if (burst.n == 0) {
        return;
    }
    burst.pkts = pkts;
    burst.ingress_ifindex = w.all->devs[0]->ifindex;
    for (unsigned i = 0; i < burst.n; ++i) {
        burst.action[i] =
            xdp_redirect_map(&burst, i, device ? w.all->devmap.get() : w.all->cpumap.get(), key, XDP_DROP);
    }
    xdp_do_redirect(*w.cpu, *w.all->devs[0], burst);
    for (unsigned i = 0; i < burst.n; ++i) {
        if (burst.action[i] != XDP_TAKEN) {
            w.all->books.keep(*pkts[i], w.cpu->id);
            w.hoard.push_back(pkts[i]);
        }
    }
}

void steer(worker &w)
{
    rte_mbuf *pkts[64];
    const unsigned target = w.pick(CPUS);
    if (const unsigned n = take(w, pkts, 1 + w.pick(64), BACKLOG + target)) {
        enqueue_to_backlog(*w.cpu, target, *w.all->devs[0], pkts, n);
    }
}

void use_timer(worker &w)
{
    counted_timer &t = w.timers[w.pick(TIMERS)];
    if (t.active()) {
        w.cancelled += w.cpu->sd->timers.cancel(t);
    } else {
        ++w.started;
        w.cpu->sd->timers.start(t, w.all->rt->now() - 10'000 + w.pick(300'000));
    }
}

void act(worker &w, unsigned steps)
{
    for (; steps != 0; --steps) {
        switch (w.pick(8)) {
        case 0:
        case 1:
            alloc(w);
            break;
        case 2:
            free_some(w, 1 + w.pick(64));
            break;
        case 3:
            xmit(w, 64);
            break;
        case 4:
        case 5:
            redirect(w);
            break;
        case 6:
            steer(w);
            break;
        default:
            use_timer(w);
        }
        w.all->disturb();
    }
}

void fired(hrtimer &timer) noexcept
{
    worker &w = *static_cast<counted_timer &>(timer).owner;
    ++w.fired;
    act(w, w.pick(3));
    net_poll_end(*w.cpu);
}

/// Keeps received packets, sends some packets on, and frees packets if the hoard is too large.
void deliver(void *ctx, net_cpu &cpu, net_device &, rte_mbuf **pkts, unsigned n) noexcept
{
    stress_run &b = *static_cast<stress_run *>(ctx);
    worker &w = b.workers[cpu.id];
    for (unsigned i = 0; i < n; ++i) {
        const unsigned path = b.books.receive(*pkts[i], cpu.id);
        if ((path >= CPUMAP && path < BACKLOG && path != CPUMAP + cpu.id) ||
            (path >= BACKLOG && path != BACKLOG + cpu.id)) {
            b.books.complain("a packet arrives on another CPU than it was sent to");
        }
        w.hoard.push_back(pkts[i]);
    }
    b.disturb();
    if (w.pick(3) == 0) {
        xmit(w, n);
    }
    if (w.hoard.size() > HOARD) {
        free_some(w, static_cast<unsigned>(w.hoard.size()) - HOARD / 2);
    }
}

// --- waking ---

/// Wakes `s`; returns true if it slept.
bool stress_run::wake(sleeper &s)
{
    if (!s.idle.exchange(false, std::memory_order_acquire)) { // pairs with the release in done()
        return false;
    }
    s.woken_at.store(now_ns(), std::memory_order_relaxed);
    s.wake();
    return true;
}

void done(sleeper &s) { s.idle.store(true, std::memory_order_release); }

void runs(sleeper &s)
{
    const std::int64_t took = now_ns() - s.woken_at.load(std::memory_order_relaxed);
    if (took > s.longest.load(std::memory_order_relaxed)) {
        s.longest.store(took, std::memory_order_relaxed);
    }
    s.runs.fetch_add(1, std::memory_order_relaxed);
}

/// Wakes a random sleeper, which preempts the calling thread here if it is more urgent.
void stress_run::disturb()
{
    if (echoes.load(std::memory_order_relaxed) <= 0) {
        return;
    }
    const unsigned number = dice.fetch_add(1, std::memory_order_relaxed) * 2654435761U >> 16;
    if (number % 4 == 0 && echoes.fetch_sub(1, std::memory_order_relaxed) > 0) {
        wake(sleepers[number / 4 % sleepers.size()]);
    }
}

void run_on(worker &w)
{
    act(w, 1 + w.pick(8));
    net_poll_end(*w.cpu);
}

void stress_run::embed(unsigned cpu, int priority, sleeper &self, sem_t &bell)
{
    cpu_attachment attached(*rt, cpu);
    const sched_param param{.sched_priority = priority};
    if (pthread_setschedparam(pthread_self(), SCHED_FIFO, &param) != 0) {
        books.complain("an embedder's thread gets no SCHED_FIFO");
    }
    started.fetch_add(1);
    while (true) {
        while (sem_wait(&bell) != 0) {
        }
        if (stop) {
            return;
        }
        runs(self);
        {
            bh_section bh(rt->cpu(cpu));
            run_on(workers[cpu]);
        }
        done(self);
    }
}

// --- a run ---

stress_run::stress_run(unsigned seed, int cpu)
    : random(seed), pool(packet_pool_create("nested_stress", POOL_PACKETS, 512, 128, pool_users::preempted))
{
    runtime_options options;
    options.exclusion = exclusion_mode::nested;
    options.cpus.clear();
    for (const int priority : PRIORITY) {
        options.cpus.push_back({.affinity = cpu, .fifo_priority = priority});
    }
    options.warn = [this](const std::string &what) { refused = what; };
    rt = std::make_unique<runtime>(options);
    core = std::make_unique<net_core>(*rt, pool);
    core->set_rx_handler(deliver, this);
    core->set_skb_defer_max(64);
    for (unsigned c = 0; c < CPUS; ++c) {
        workers[c].random.seed(seed * CPUS + c + 1);
        prepare(c);
    }
    for (unsigned d = 0; d < DEVICES; ++d) {
        add_device(d);
    }
    devmap = xdp_map_create(*core, "devmap", xdp_map_type::devmap);
    cpumap = xdp_map_create(*core, "cpumap", xdp_map_type::cpumap);
    for (unsigned i = 0; i < std::size(EMBEDDERS); ++i) {
        start_embedder(i);
    }
}

void stress_run::prepare(unsigned c)
{
    worker &w = workers[c];
    w.all = this;
    w.cpu = &core->cpu(c);
    w.hoard.reserve(8 * HOARD);
    for (counted_timer &t : w.timers) {
        t.function = fired;
        t.owner = &w;
    }
    sleepers[c].name = "hp/" + std::to_string(c);
    sleepers[c].wake = [this, c] { call_on_async(rt->cpu(c), calls[c]); };
    calls[c].arg = &w;
    calls[c].func = [](softnet_data &sd, void *arg) noexcept {
        worker &mine = *static_cast<worker *>(arg);
        sleeper &self = mine.all->sleepers[sd.cpu];
        runs(self);
        run_on(mine);
        done(self);
    };
}

/// The first device has a queue on each runtime CPU, the second one on the most urgent CPU only.
void stress_run::add_device(unsigned d)
{
    net_device_options options;
    options.name = "dev" + std::to_string(d);
    options.rx_queues = d == 0 ? CPUS : 1;
    options.cpus = d == 0 ? std::vector<unsigned>{0, 1, 2, 3} : std::vector<unsigned>{3};
    options.napi.busy_poll = 0;
    const unsigned tx_paths = 1U << (XMIT + d) | 1U << (DEVMAP + d);
    auto port =
        std::make_unique<nested_port>(books, pool, options.rx_queues, CPUS + d, RX, tx_paths, [this] { disturb(); });
    drivers[d] = port.get();
    devs[d] = &core->register_netdevice(std::move(port), options);
}

void stress_run::start_embedder(unsigned i)
{
    sleeper &s = sleepers[CPUS + i];
    sem_init(&bells[i], 0, 0);
    s.name = "embedder on " + std::to_string(EMBEDDERS[i].first);
    s.wake = [this, i] { sem_post(&bells[i]); };
    embedders.emplace_back([this, i, &s] { embed(EMBEDDERS[i].first, EMBEDDERS[i].second, s, bells[i]); });
}

/// Ends all threads. Returns false if packets are missing from the pool.
bool stress_run::end()
{
    stop = true;
    for (unsigned i = 0; i < embedders.size(); ++i) {
        sem_post(&bells[i]);
        embedders[i].join();
        sem_destroy(&bells[i]);
    }
    devmap.reset();
    cpumap.reset();
    core.reset();
    rt.reset();
    for (unsigned lcore = 0; lcore < RTE_MAX_LCORE; ++lcore) {
        rte_mempool_cache_flush(rte_mempool_default_cache(pool, lcore), pool);
    }
    const bool balanced = books.balanced(pool);
    packet_pool_free(pool);
    return balanced;
}

/// Adds, replaces and removes entries of the maps. When an update or a removal returns, no CPU uses the former entry.
void stress_run::control(unsigned turn)
{
    if (turn % 2 == 0) {
        const std::uint32_t key = turn / 2 % DEVICES;
        if (!devmap->erase(key)) {
            devmap->update({.key = key, .ifindex = devs[key]->ifindex});
        }
    } else {
        const std::uint32_t key = turn / 2 % CPUS;
        if (!cpumap->erase(key) || turn % 3 == 0) {
            cpumap->update({.key = key, .qsize = 256});
        }
    }
}

double cpu_seconds()
{
    timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) / 1e9;
}

void stress_run::wake_somebody()
{
    echoes.store(static_cast<int>(random() % 8), std::memory_order_relaxed);
    const std::size_t which = random() % (sleepers.size() + CPUS);
    if (which < sleepers.size()) {
        wake(sleepers[which]);
    } else if (const auto queue = static_cast<unsigned>(which - sleepers.size()); drivers[0]->idle(queue)) {
        drivers[0]->arrive(queue, 1 + static_cast<unsigned>(random() % 100));
        drivers[1]->arrive(0, 1);
    }
}

/// Returns false if a sleeper that was woken has made no progress for too long.
bool stress_run::progress()
{
    const auto now = clock_type::now();
    for (std::size_t i = 0; i < watches.size(); ++i) {
        const bool is_queue = i >= sleepers.size();
        const auto queue = static_cast<unsigned>(i - sleepers.size());
        const bool idle = is_queue ? drivers[0]->idle(queue) : sleepers[i].idle.load(std::memory_order_relaxed);
        const std::uint64_t runs = is_queue ? 0 : sleepers[i].runs.load(std::memory_order_relaxed);
        if (idle || runs != watches[i].runs) {
            watches[i] = {runs, now};
        } else if (now - watches[i].since > PATIENCE) {
            std::fprintf(stderr, "%s makes no progress\n",
                         is_queue ? ("rx queue " + std::to_string(queue)).c_str() : sleepers[i].name.c_str());
            return false;
        }
    }
    return true;
}

/// Returns false if a thread makes no progress.
bool stress_run::drive(unsigned seconds)
{
    const auto begin = clock_type::now();
    const double computed = cpu_seconds();
    auto next_control = begin;
    unsigned turn = 0;
    for (auto now = begin; now < begin + std::chrono::seconds(seconds); now = clock_type::now()) {
        wake_somebody();
        if (now >= next_control) {
            control(turn++);
            next_control = now + milliseconds(5);
        }
        if (!progress()) {
            return false;
        }
        std::this_thread::sleep_for(microseconds(10 + random() % 150));
        const std::chrono::duration<double> passed = clock_type::now() - begin;
        const double ahead = (cpu_seconds() - computed) / SHARE - passed.count();
        if (ahead > 0) {
            std::this_thread::sleep_for(std::chrono::duration<double>(ahead));
        }
    }
    return true;
}

std::uint64_t stress_run::dropped() const
{
    std::uint64_t sum = 0;
    for (unsigned reason = 0; reason < DROP_NETIO_MAX; ++reason) {
        sum += core->drops(reason);
    }
    return sum;
}

/// True if no woken thread still runs and no packet is in flight.
bool stress_run::at_rest() const
{
    bool idle = true;
    for (const sleeper &s : sleepers) {
        idle = idle && s.idle.load(std::memory_order_acquire); // pairs with the release in done()
    }
    for (unsigned queue = 0; queue < CPUS; ++queue) {
        idle = idle && drivers[0]->idle(queue);
    }
    const std::uint64_t out = books.got() + dropped(); // read before sent(), which is never less
    return idle && drivers[1]->idle(0) && books.sent() == out;
}

/// Cancels timers and empties hoards. Returns false if there were any.
bool stress_run::give_back()
{
    bool none = true;
    for (unsigned c = 0; c < CPUS; ++c) {
        rt->call_on(c, [&](softnet_data &sd) {
            worker &w = workers[c];
            for (counted_timer &t : w.timers) {
                const bool active = sd.timers.cancel(t);
                w.cancelled += active;
                none = none && !active;
            }
            none = none && w.hoard.empty();
            free_some(w, static_cast<unsigned>(w.hoard.size()));
            net_poll_end(*w.cpu);
        });
    }
    return none;
}

/// Waits until all threads sleep, every sent packet has arrived or was dropped, and no received packet is held. A
/// packet may be delivered to a CPU that has just emptied its hoard, so only a round counts in which no packet was
/// found and none was sent. Returns false if a packet is lost.
bool stress_run::settle()
{
    echoes = 0;
    drivers[0]->arrive(0, 9); // so that packets are delivered meanwhile
    const auto deadline = clock_type::now() + PATIENCE;
    bool settled = false;
    while (!settled && clock_type::now() < deadline) {
        const std::uint64_t sent = books.sent();
        const bool rested = at_rest();
        settled = give_back() && rested && books.sent() == sent;
        std::this_thread::sleep_for(milliseconds(2));
    }
    if (!settled) {
        std::fprintf(stderr, "%llu packets sent, %llu arrived, %llu dropped\n",
                     static_cast<unsigned long long>(books.sent()), static_cast<unsigned long long>(books.got()),
                     static_cast<unsigned long long>(dropped()));
    }
    return settled;
}

/// Prints what was done; returns false if one kind of operation did not occur.
bool stress_run::report() const
{
    bool all_done = true;
    const auto say = [&](const std::string &what, std::uint64_t n) {
        std::printf("%s %llu, ", what.c_str(), static_cast<unsigned long long>(n));
        all_done = all_done && n != 0;
    };
    say("packets sent", books.sent());
    say("received", books.got_by(RX));
    for (unsigned d = 0; d < DEVICES; ++d) {
        say("xmit", books.got_by(XMIT + d));
        say("devmap", books.got_by(DEVMAP + d));
    }
    for (unsigned c = 0; c < CPUS; ++c) {
        say("cpumap", books.got_by(CPUMAP + c));
        say("backlog", books.got_by(BACKLOG + c));
    }
    std::uint64_t fired = 0, cancelled = 0, dry = 0;
    for (const worker &w : workers) {
        all_done = all_done && w.started == w.fired + w.cancelled;
        fired += w.fired;
        cancelled += w.cancelled;
        dry += w.dry;
    }
    say("timers fired", fired);
    say("cancelled", cancelled);
    say("dropped", dropped());
    std::printf("pool empty %llu times\n", static_cast<unsigned long long>(dry));
    for (const sleeper &s : sleepers) {
        std::printf("%s: woken %llu times, after %.0f us at most\n", s.name.c_str(),
                    static_cast<unsigned long long>(s.runs.load()), static_cast<double>(s.longest.load()) / 1e3);
        all_done = all_done && s.runs.load() != 0;
    }
    return all_done;
}

/// Returns the last logical CPU of the process, and leaves the others to the driving thread.
int choose_cpu()
{
    cpu_set_t set;
    sched_getaffinity(0, sizeof set, &set);
    int last = CPU_SETSIZE - 1;
    while (!CPU_ISSET(static_cast<unsigned>(last), &set)) {
        --last;
    }
    if (CPU_COUNT(&set) > 1) {
        CPU_CLR(static_cast<unsigned>(last), &set);
        sched_setaffinity(0, sizeof set, &set);
    }
    return last;
}

int run(unsigned seconds, unsigned seed)
{
    const int cpu = choose_cpu();
    eal_init({.memory_mb = 64});
    stress_run b(seed, cpu);
    if (!b.refused.empty()) {
        b.end();
        std::printf("not run: %s\n", b.refused.c_str());
        return 77;
    }
    while (b.started != std::size(EMBEDDERS)) {
        std::this_thread::sleep_for(milliseconds(1));
    }
    if (!b.drive(seconds)) {
        _exit(1); // the threads could not be joined
    }
    const bool settled = b.settle(), all_done = b.report(), balanced = b.end();
    if (!all_done) {
        std::printf("something of that did not happen, or not to its end\n");
    }
    return settled && all_done && balanced && b.books.errors() == 0 ? 0 : 1;
}

} // namespace

int main(int argc, char **argv)
{
    unsigned seconds = DEFAULT_SECONDS, seed = std::random_device{}();
    const option longs[] = {
        {"seconds", required_argument, nullptr, 's'}, {"seed", required_argument, nullptr, 'r'}, {}};
    for (int c; (c = getopt_long(argc, argv, "", longs, nullptr)) != -1;) {
        if (c == '?') {
            return 2;
        }
        (c == 's' ? seconds : seed) = static_cast<unsigned>(std::strtoul(optarg, nullptr, 10));
    }
    std::printf("seed %u\n", seed);
    std::fflush(stdout);
    try {
        return run(seconds, seed);
    } catch (const error &e) {
        std::fprintf(stderr, "%s\n", e.what());
        return 1;
    }
}
