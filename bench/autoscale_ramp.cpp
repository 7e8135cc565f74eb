// SPDX-License-Identifier: BSD-3-Clause
//
// Load that rises from nothing to more than one CPU can do and falls again, under the autoscaler. Two sources of
// packets, at home on runtime CPUs 0 and 1; what a packet costs is simulated by sleep, so that the figures are those of
// two free cores even where others work. Prints "key value" lines.
#include <halfpoll/autoscaler.hpp>
#include <halfpoll/eal.hpp>
#include <halfpoll/net_core.hpp>

#include <rte_mbuf.h>

#include <sys/prctl.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <vector>

using namespace halfpoll;

namespace
{

constexpr ktime_t COST = 3 * NSEC_PER_USEC;  ///< of a packet
constexpr ktime_t NAP = 100 * NSEC_PER_USEC; ///< costs are paid in parts of this
constexpr std::uint64_t RING = 4096;         ///< packets that the "device" keeps
constexpr double PEAK = 0.8;                 ///< of each source, in CPUs
constexpr ktime_t TARGET = NSEC_PER_MSEC;
constexpr ktime_t SETTLE = 200 * NSEC_PER_MSEC;

struct payload {
    std::uint64_t number;
    ktime_t arrival;
};

/// Packets at a rate that rises and falls; a timer is its interrupt. What does not fit the ring is lost.
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
                break; // the other CPU was interrupted in the pool: what it gave back is seen when it goes on
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
    /// What has come until now.
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
            next_ += static_cast<ktime_t>(1 / std::max(rate, 1e-7)); // 100 a second at least
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

/// Done with: per source, what was seen. Written by the CPU that has the source's queue.
struct done {
    std::uint64_t packets = 0, reordered = 0, late = 0;
    ktime_t longest = 0; ///< delay
    std::vector<std::pair<ktime_t, ktime_t>>
        spells; ///< of late packets: from the first one's arrival to the last one's end
};
std::array<done, 2> results;

/// Pays for n packets.
void work(unsigned n) noexcept
{
    thread_local ktime_t debt = 0;
    debt += n * COST;
    if (debt < NAP) {
        return;
    }
    const ktime_t begun = ktime_get();
    const timespec time{.tv_sec = 0, .tv_nsec = debt};
    nanosleep(&time, nullptr);
    debt -= ktime_get() - begun;
}

void finish(done &d, const payload &p, ktime_t now) noexcept
{
    d.reordered += p.number != d.packets;
    ++d.packets;
    const ktime_t delay = now - p.arrival;
    d.longest = std::max(d.longest, delay);
    if (delay <= TARGET) {
        return;
    }
    ++d.late;
    if (d.spells.empty() || p.arrival - d.spells.back().second > TARGET) {
        d.spells.emplace_back(p.arrival, now);
    } else {
        d.spells.back().second = now;
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

void nap_until(ktime_t when)
{
    const ktime_t left = std::clamp<ktime_t>(when - ktime_get(), 0, 10 * NSEC_PER_MSEC);
    const timespec time{.tv_sec = 0, .tv_nsec = left};
    nanosleep(&time, nullptr);
}

struct changes {
    unsigned parked = 0, returned = 0;
    ktime_t slowest = 0; ///< change of a CPU
};

/// Autoscaling for so long.
changes scale(runtime &rt, ktime_t end)
{
    changes seen;
    autoscaler scaler(rt);
    ktime_t looked = 0;
    scaler.on_change = [&](unsigned, bool online) {
        ++(online ? seen.returned : seen.parked);
        seen.slowest = std::max(seen.slowest, ktime_get() - looked);
    };
    scaler.set({.target = TARGET, .min_cpus = 1, .low_percent = 50, .settle = SETTLE});
    while (ktime_get() < end) {
        nap_until(std::min(scaler.due(), end));
        looked = ktime_get();
        if (scaler.due() <= looked) {
            scaler.look();
        }
    }
    return seen;
}

void print(const std::array<const ramp_port *, 2> &sources, const changes &seen)
{
    std::uint64_t arrived = 0, lost = 0;
    done all;
    ktime_t spell = 0;
    for (unsigned i = 0; i < 2; ++i) {
        arrived += sources[i]->arrived();
        lost += sources[i]->lost();
        all.packets += results[i].packets;
        all.reordered += results[i].reordered;
        all.late += results[i].late;
        all.longest = std::max(all.longest, results[i].longest);
        for (const auto &[from, to] : results[i].spells) {
            spell = std::max(spell, to - from);
        }
    }
    std::printf("packets %llu\nlost %llu\nreordered %llu\nlate %llu\n", static_cast<unsigned long long>(arrived),
                static_cast<unsigned long long>(lost + arrived - all.packets),
                static_cast<unsigned long long>(all.reordered), static_cast<unsigned long long>(all.late));
    std::printf("spells %zu\nspell_us %lld\nlongest_us %lld\n", results[0].spells.size() + results[1].spells.size(),
                static_cast<long long>(spell / NSEC_PER_USEC), static_cast<long long>(all.longest / NSEC_PER_USEC));
    std::printf("parked %u\nreturned %u\nchange_us %lld\n", seen.parked, seen.returned,
                static_cast<long long>(seen.slowest / NSEC_PER_USEC));
}

} // namespace

int main(int argc, char **argv)
{
    const ktime_t length = (argc > 1 ? std::atoi(argv[1]) : 4) * NSEC_PER_SEC;
    prctl(PR_SET_TIMERSLACK, 1); // threads inherit it
    try {
        eal_init({});
        rte_mempool *pool = packet_pool_create("ramp", 16383, 2176, 0);
        {
            runtime rt(runtime_options{.cpus = std::vector<cpu_options>(2)});
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
            const changes seen = scale(rt, start + length + NSEC_PER_SEC);
            for (unsigned cpu = 0; cpu < 2; ++cpu) {
                rt.call_on(cpu, [](softnet_data &) {}); // what it has written is seen
            }
            print(sources, seen);
        }
        packet_pool_free(pool);
    } catch (const error &e) {
        std::fprintf(stderr, "%s\n", e.what());
        return 1;
    }
    return 0;
}
