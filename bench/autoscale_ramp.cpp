// SPDX-License-Identifier: BSD-3-Clause
//
// Under the autoscaler, load rises from nothing to more than one CPU can do, and falls again. Two sources of packets
// are at home on runtime CPUs 0 and 1. The cost of a packet is slept, and all threads are SCHED_FIFO, so that the
// figures are those of two free cores even if the machine does other work. Witness threads record when the cores are
// taken away nevertheless (by the host of a virtual machine). Prints "key value" lines.
#include <halfpoll/autoscaler.hpp>
#include <halfpoll/eal.hpp>
#include <halfpoll/net_core.hpp>
#include <halfpoll/softnet_data.hpp>

#include <rte_mbuf.h>

#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <stop_token>
#include <thread>
#include <vector>

using namespace halfpoll;

namespace
{

constexpr ktime_t COST = 3 * NSEC_PER_USEC;  ///< time that a packet costs
constexpr ktime_t NAP = 100 * NSEC_PER_USEC; ///< the handler sleeps once it owes this much
constexpr std::uint64_t RING = 4096;         ///< packets that the device's ring holds
constexpr double PEAK = 0.8;                 ///< highest load of each source, in CPUs
constexpr ktime_t TARGET = NSEC_PER_MSEC;
constexpr ktime_t SETTLE = 200 * NSEC_PER_MSEC;

struct payload {
    std::uint64_t number;
    ktime_t arrival;
};

/// A device that receives packets at a rate that rises and falls. A timer is its interrupt. Packets that find the ring
/// full are lost.
class ramp_port final : public port
{
public:
    ramp_port(ktime_t start, ktime_t length)
        : start_(start), length_(length), next_(start), fd_(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK))
    {
    }
    ~ramp_port() override { ::close(fd_); }

    port_info info() const override
    {
        port_info i;
        i.driver = "ramp";
        i.max_rx_queues = 1;
        i.max_tx_queues = 2;
        i.max_mtu = 1500;
        return i;
    }
    void open(const port_options &options) override { pool_ = options.pool; }
    void close() noexcept override {}
    link_state link() override { return {.up = true, .speed_mbps = 10'000}; }
    void set_mtu(std::uint32_t) override {}
    void set_promiscuous(bool) override {}
    void set_mac(const rte_ether_addr &) override {}
    void reset() override {}
    port_counters counters() const override { return {}; }
    void set_event_handler(std::function<void(port_event)>) override {}
    rx_wait wait_of(std::uint16_t) override { return {.fd = fd_, .kind = source_kind::oneshot, .reason = ""}; }

    std::uint16_t rx_burst(std::uint16_t, rte_mbuf **pkts, std::uint16_t n) noexcept override
    {
        arrive(ktime_get());
        std::uint16_t got = 0;
        for (; got < n && taken_ < arrived_; ++got, ++taken_) {
            rte_mbuf *m = rte_pktmbuf_alloc(pool_);
            if (!m) {
                break; // the other CPU was interrupted in a mempool operation: its objects return when it goes on
            }
            auto *p = reinterpret_cast<payload *>(rte_pktmbuf_append(m, 64));
            *p = {taken_, times_[taken_ % RING]};
            pkts[got] = m;
        }
        return got;
    }
    bool rx_pending(std::uint16_t) const noexcept override { return taken_ < arrived_ || next_ <= ktime_get(); }
    int rx_irq_enable(std::uint16_t) noexcept override
    {
        const ktime_t when = taken_ < arrived_ ? 1 : next_;
        const itimerspec timer{{}, {.tv_sec = when / NSEC_PER_SEC, .tv_nsec = when % NSEC_PER_SEC}};
        return next_ == KTIME_MAX ? 0 : timerfd_settime(fd_, TFD_TIMER_ABSTIME, &timer, nullptr);
    }
    int rx_irq_disable(std::uint16_t) noexcept override
    {
        const itimerspec off{};
        return timerfd_settime(fd_, 0, &off, nullptr);
    }
    std::uint16_t tx_burst(std::uint16_t, rte_mbuf **, std::uint16_t) noexcept override { std::abort(); }

    std::uint64_t arrived() const noexcept { return arrived_; }
    std::uint64_t lost() const noexcept { return lost_; }

private:
    /// Puts the packets that are due until `now` on the ring.
    void arrive(ktime_t now) noexcept
    {
        while (next_ <= now) {
            if (arrived_ - taken_ < RING) {
                times_[arrived_ % RING] = next_;
                ++arrived_;
            } else {
                ++lost_;
            }
            const double at = static_cast<double>(next_ - start_) / static_cast<double>(length_);
            const double rate = PEAK / static_cast<double>(COST) * (1 - std::abs(2 * at - 1));
            next_ += static_cast<ktime_t>(1 / std::max(rate, 1e-7)); // at least 100 packets/s
            if (next_ - start_ > length_) {
                next_ = KTIME_MAX;
            }
        }
    }

    const ktime_t start_, length_;
    ktime_t next_;
    const int fd_;
    rte_mempool *pool_ = nullptr;
    std::uint64_t arrived_ = 0, taken_ = 0, lost_ = 0;
    std::array<ktime_t, RING> times_{};
};

struct interval {
    ktime_t from, to;
    ktime_t length() const noexcept { return to - from; }
    bool contains(ktime_t when) const noexcept { return when >= from && when <= to; }
};

ktime_t longest_of(const std::vector<interval> &all) noexcept
{
    ktime_t longest = 0;
    for (const interval &each : all) {
        longest = std::max(longest, each.length());
    }
    return longest;
}

void nap(ktime_t time) noexcept
{
    const timespec t{.tv_sec = time / NSEC_PER_SEC, .tv_nsec = time % NSEC_PER_SEC};
    nanosleep(&t, nullptr);
}

/// The times of a late packet.
struct delayed {
    ktime_t arrival, end;
};

/// The results of one source's packets. Written by the CPU that has the source's queue.
struct done {
    std::uint64_t packets = 0, reordered = 0;
    ktime_t longest = 0; ///< longest delay
    std::vector<delayed> late;
};
std::array<done, 2> results;

/// Sleeps for the cost of n packets, or adds it to the thread's debt if that is below NAP.
void work(unsigned n) noexcept
{
    thread_local ktime_t debt = 0;
    debt += n * COST;
    if (debt < NAP) {
        return;
    }
    const ktime_t begun = ktime_get();
    nap(debt);
    debt -= ktime_get() - begun;
}

void finish(done &d, const payload &p, ktime_t now) noexcept
{
    d.reordered += p.number != d.packets;
    ++d.packets;
    const ktime_t delay = now - p.arrival;
    d.longest = std::max(d.longest, delay);
    if (delay > TARGET) {
        d.late.push_back({p.arrival, now});
    }
}

void receive(void *, net_cpu &cpu, net_device &in, rte_mbuf **pkts, unsigned n) noexcept
{
    work(n);
    const ktime_t now = ktime_get();
    for (unsigned i = 0; i < n; ++i) {
        finish(results[in.ifindex - 1], *rte_pktmbuf_mtod(pkts[i], const payload *), now);
    }
    cpu.cache->free(pkts, n);
}

/// A thread that sleeps on one core, at a higher priority than the measured threads, and records each time at which it
/// wakes too late: an absence of the core.
class witness
{
public:
    explicit witness(int core) : thread_([this, core](const std::stop_token &stop) { look(stop, core); }) {}
    /// Ends the thread and returns the absences.
    const std::vector<interval> &end()
    {
        thread_.request_stop();
        thread_.join();
        return absences_;
    }

private:
    void look(const std::stop_token &stop, int core)
    {
        cpu_set_t cpus;
        CPU_ZERO(&cpus);
        CPU_SET(core, &cpus);
        const sched_param priority{.sched_priority = 2};
        if (pthread_setaffinity_np(pthread_self(), sizeof cpus, &cpus) != 0 ||
            pthread_setschedparam(pthread_self(), SCHED_FIFO, &priority) != 0) {
            std::fprintf(stderr, "no SCHED_FIFO thread on core %d\n", core);
            std::exit(1);
        }
        while (!stop.stop_requested()) {
            const ktime_t due = ktime_get() + WITNESS_NAP;
            nap(WITNESS_NAP);
            const ktime_t now = ktime_get();
            if (now - due > ABSENCE) {
                absences_.push_back({due, now});
            }
        }
    }

    static constexpr ktime_t WITNESS_NAP = 200 * NSEC_PER_USEC;
    static constexpr ktime_t ABSENCE = 200 * NSEC_PER_USEC; ///< shortest absence: longer than a wake-up takes
    std::vector<interval> absences_;
    std::jthread thread_;
};

std::vector<std::unique_ptr<witness>> witnesses()
{
    std::vector<std::unique_ptr<witness>> all;
    cpu_set_t cpus;
    sched_getaffinity(0, sizeof cpus, &cpus);
    for (int core = 0; core < CPU_SETSIZE; ++core) {
        if (CPU_ISSET(core, &cpus)) {
            all.push_back(std::make_unique<witness>(core));
        }
    }
    return all;
}

struct changes {
    std::vector<interval> reactions;         ///< from the time when a CPU fell behind until another one is online
    std::vector<interval> returns, parkings; ///< changes of a CPU to online and to offline
};

/// The time since which some CPU has been behind; KTIME_MAX: none is.
ktime_t behind_since(runtime &rt) noexcept
{
    ktime_t oldest = KTIME_MAX;
    for (unsigned cpu = 0; cpu < rt.cpus(); ++cpu) {
        const ktime_t since = rt.cpu(cpu).stats.behind_since.load(std::memory_order_relaxed);
        oldest = since != 0 ? std::min(oldest, since) : oldest;
    }
    return oldest;
}

/// Runs the autoscaler until `end`, and returns its changes.
changes scale(runtime &rt, ktime_t end)
{
    changes seen;
    autoscaler scaler(rt);
    ktime_t looked = 0, behind = 0;
    scaler.on_change = [&](unsigned, bool online) {
        const ktime_t now = ktime_get();
        (online ? seen.returns : seen.parkings).push_back({looked, now});
        if (online) {
            seen.reactions.push_back({std::min(behind, looked), now});
        }
    };
    scaler.set({.target = TARGET, .min_cpus = 1, .low_percent = 50, .settle = SETTLE});
    while ((looked = ktime_get()) < end) {
        nap(std::clamp<ktime_t>(std::min(scaler.due(), end) - looked, 0, 10 * NSEC_PER_MSEC));
        behind = behind_since(rt);
        looked = ktime_get();
        if (scaler.due() <= looked) {
            scaler.look();
        }
    }
    return seen;
}

/// The numbers of late packets, by reason.
struct lateness {
    std::uint64_t reaction = 0;  ///< they came while the autoscaler reacted
    std::uint64_t disturbed = 0; ///< a core was absent while they waited, or while the late packets before them did
    std::uint64_t other = 0;     ///< no such reason
};

lateness judge(const done &d, const changes &seen, const std::vector<interval> &absences)
{
    lateness result;
    ktime_t last = 0;       // end of the previous late packet
    bool disturbed = false; // the current row of late packets began with an absence
    for (const delayed &p : d.late) {
        const auto during = [&](const interval &a) { return a.from <= p.end && a.to >= p.arrival; };
        disturbed = (disturbed && p.arrival <= last) || std::ranges::any_of(absences, during);
        last = p.end;
        if (std::ranges::any_of(seen.reactions, [&](const interval &r) { return r.contains(p.arrival); })) {
            ++result.reaction;
        } else {
            ++(disturbed ? result.disturbed : result.other);
        }
    }
    return result;
}

void print(const char *key, std::uint64_t value)
{
    std::printf("%s %llu\n", key, static_cast<unsigned long long>(value));
}
void print_us(const char *key, ktime_t time) { print(key, static_cast<std::uint64_t>(time / NSEC_PER_USEC)); }

void report(const std::array<const ramp_port *, 2> &sources, const changes &seen, const std::vector<interval> &absences)
{
    std::uint64_t arrived = 0, lost = 0, processed = 0, reordered = 0;
    lateness late;
    ktime_t longest = 0;
    for (unsigned i = 0; i < 2; ++i) {
        arrived += sources[i]->arrived();
        lost += sources[i]->lost();
        processed += results[i].packets;
        reordered += results[i].reordered;
        longest = std::max(longest, results[i].longest);
        const lateness of_source = judge(results[i], seen, absences);
        late.reaction += of_source.reaction;
        late.disturbed += of_source.disturbed;
        late.other += of_source.other;
    }
    print("packets", arrived);
    print("lost", lost + arrived - processed);
    print("reordered", reordered);
    print("late", late.other);
    print("late_in_reaction", late.reaction);
    print("late_by_absence", late.disturbed);
    print_us("longest_us", longest);
    print_us("reaction_us", longest_of(seen.reactions));
    print_us("return_us", longest_of(seen.returns));
    print_us("park_us", longest_of(seen.parkings));
    print("parked", seen.parkings.size());
    print("returned", seen.returns.size());
    print("absences", absences.size());
    print_us("absence_us", longest_of(absences));
}

} // namespace

int main(int argc, char **argv)
{
    const ktime_t length = (argc > 1 ? std::atoi(argv[1]) : 4) * NSEC_PER_SEC;
    prctl(PR_SET_TIMERSLACK, 1); // 1 ns; threads inherit it
    const sched_param priority{.sched_priority = 1};
    try {
        eal_init({});
        rte_mempool *pool = packet_pool_create("ramp", 16383, 2176, 0);
        {
            runtime rt(runtime_options{.cpus = std::vector<cpu_options>(2, {.fifo_priority = 1})});
            net_core core(rt, pool);
            core.set_rx_handler(receive, nullptr);
            const ktime_t start = ktime_get() + NSEC_PER_SEC;
            std::array<const ramp_port *, 2> sources;
            for (unsigned i = 0; i < 2; ++i) {
                auto source = std::make_unique<ramp_port>(start, length);
                sources[i] = source.get();
                net_device_options options;
                options.name = "source" + std::to_string(i);
                options.cpus = {i};
                core.register_netdevice(std::move(source), options);
            }
            const auto watched = witnesses();
            if (pthread_setschedparam(pthread_self(), SCHED_FIFO, &priority) != 0) {
                throw error("no SCHED_FIFO: run as root");
            }
            const changes seen = scale(rt, start + length + NSEC_PER_SEC);
            for (unsigned cpu = 0; cpu < 2; ++cpu) {
                rt.call_on(cpu, [](softnet_data &) {}); // makes the CPU's results visible to this thread
            }
            std::vector<interval> absences;
            for (const auto &each : watched) {
                const std::vector<interval> &seen_there = each->end();
                absences.insert(absences.end(), seen_there.begin(), seen_there.end());
            }
            report(sources, seen, absences);
        }
        packet_pool_free(pool);
    } catch (const error &e) {
        std::fprintf(stderr, "%s\n", e.what());
        return 1;
    }
    return 0;
}
