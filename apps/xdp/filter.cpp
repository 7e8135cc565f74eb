// SPDX-License-Identifier: BSD-3-Clause
//
// XDP program `filter`: drops packets from or to listed prefixes, and limits TCP SYNs per source or destination prefix.
// It keeps no state per connection, and its memory does not grow: a limit is a table of token buckets per CPU, in which
// prefixes with the same hash share a bucket.
//
//   drop src|dst PREFIX...
//   syn src|dst RATE BURST [LENGTH4 LENGTH6]     SYNs per second and CPU of one prefix of that length (32, 64)
//   include PATH                                 more such lines
#include "settings.hpp"

#include <memory>
#include <random>

namespace halfpoll
{
namespace
{

constexpr unsigned BUCKETS = 1U << 16;
constexpr std::uint64_t SECOND = 1'000'000'000;

/// Prefixes of one family. Two prefixes are either nested or disjoint, so the outermost ones are in order and disjoint.
class prefix_set
{
public:
    void add(const ip_range &range) { ranges_.push_back(range); }

    void close()
    {
        std::ranges::sort(ranges_, [](const ip_range &a, const ip_range &b) {
            return a.first != b.first ? a.first < b.first : a.last > b.last;
        });
        std::vector<ip_range> widest;
        for (const ip_range &range : ranges_) {
            if (widest.empty() || widest.back().last < range.last) {
                widest.push_back(range);
            }
        }
        ranges_ = std::move(widest);
    }

    bool has(const ip_number &address) const
    {
        const auto next = std::ranges::upper_bound(ranges_, address, {}, &ip_range::first);
        return next != ranges_.begin() && address <= std::prev(next)->last;
    }

private:
    std::vector<ip_range> ranges_;
};

/// A limit. A bucket on one CPU holds the time in ns at which it would be full again; 0: it is full.
struct syn_limit {
    std::uint64_t interval = 0; ///< ns per token; 0: no limit
    std::uint64_t depth = 0;    ///< ns in which an empty bucket fills
    unsigned length[2] = {32, 64};

    bool exceeded(std::uint64_t *buckets, std::uint64_t seed, const ip_view &ip, const ip_number &address,
                  std::uint64_t now) const
    {
        const ip_number prefix = address.cut(length[ip.version == 6]);
        const std::uint64_t hash = ((prefix.high ^ seed) * 0x9E3779B97F4A7C15 ^ prefix.low) * (seed | 1);
        std::uint64_t &full = buckets[(hash ^ hash >> 29) * 0xBF58476D1CE4E5B9 >> 48];
        const std::uint64_t next = std::max(full, now) + interval;
        if (next > now + depth) {
            return true;
        }
        full = next;
        return false;
    }
};

struct alignas(64) cpu_state {
    counter passed, src, dst, syn_src, syn_dst;
    std::unique_ptr<std::uint64_t[]> buckets[2];
};

bool is_syn(const ip_view &ip)
{
    constexpr std::uint8_t tcp = 6, syn = 0x02, ack = 0x10;
    return ip.protocol == tcp && ip.has(14) && (ip.payload[13] & (syn | ack)) == syn;
}

struct rules {
    prefix_set drop[2][2]; ///< [source, destination][IPv4, IPv6]
    syn_limit syn[2];

    explicit rules(const char *config)
    {
        settings(config, "filter").each([this](settings_line &line) { read(line); });
        for (auto &direction : drop) {
            for (prefix_set &set : direction) {
                set.close();
            }
        }
    }

private:
    void read(settings_line &line)
    {
        const std::string what = line.word("drop, syn or include");
        if (what != "drop" && what != "syn") {
            line.fail("drop, syn or include");
        }
        const std::string direction = line.word("src or dst");
        if (direction != "src" && direction != "dst") {
            line.fail("src or dst");
        }
        if (what == "syn") {
            return read_limit(line, syn[direction == "dst"]);
        }
        do {
            const ip_range range = line.prefix();
            drop[direction == "dst"][range.version == 6].add(range);
        } while (line.more());
    }

    static void read_limit(settings_line &line, syn_limit &limit)
    {
        limit.interval = SECOND / line.number("SYNs per second", 1, 100'000'000);
        limit.depth = limit.interval * line.number("a burst of SYNs", 1, 1'000'000);
        if (line.more()) {
            limit.length[0] = static_cast<unsigned>(line.number("a length of IPv4 prefixes", 0, 32));
            limit.length[1] = static_cast<unsigned>(line.number("a length of IPv6 prefixes", 0, 128));
        }
    }
};

class filter
{
public:
    filter(const halfpoll_xdp_host &host, const char *config) : rules_(config), cpus_(host.cpus)
    {
        for (cpu_state &cpu : cpus_) {
            for (unsigned i = 0; i < 2; ++i) {
                cpu.buckets[i] = std::make_unique<std::uint64_t[]>(rules_.syn[i].interval ? BUCKETS : 0);
            }
        }
    }

    void run(halfpoll_xdp_burst &burst)
    {
        cpu_state &cpu = cpus_[burst.cpu];
        for (std::uint32_t i = 0; i < burst.n; ++i) {
            counter *dropped = judge(cpu, parse_frame(xdp_data(&burst, i), xdp_data_end(&burst, i)), burst.now);
            (dropped ? *dropped : cpu.passed).add();
            burst.action[i] = dropped ? XDP_DROP : XDP_PASS;
        }
    }

    int show(char *text, std::size_t size) const
    {
        return std::snprintf(text, size, "passed %llu\ndrop_src %llu\ndrop_dst %llu\nsyn_src %llu\nsyn_dst %llu\n",
                             total(cpus_, &cpu_state::passed), total(cpus_, &cpu_state::src),
                             total(cpus_, &cpu_state::dst), total(cpus_, &cpu_state::syn_src),
                             total(cpus_, &cpu_state::syn_dst));
    }

private:
    /// The counter for a packet that must be dropped; null: the packet passes.
    counter *judge(cpu_state &cpu, const ip_view &ip, std::uint64_t now) const
    {
        if (ip.version == 0) {
            return nullptr;
        }
        if (rules_.drop[0][ip.version == 6].has(ip.source)) {
            return &cpu.src;
        }
        if (rules_.drop[1][ip.version == 6].has(ip.destination)) {
            return &cpu.dst;
        }
        if (!is_syn(ip)) {
            return nullptr;
        }
        if (rules_.syn[0].interval && rules_.syn[0].exceeded(cpu.buckets[0].get(), seed_, ip, ip.source, now)) {
            return &cpu.syn_src;
        }
        const bool much =
            rules_.syn[1].interval && rules_.syn[1].exceeded(cpu.buckets[1].get(), seed_, ip, ip.destination, now);
        return much ? &cpu.syn_dst : nullptr;
    }

    const rules rules_;
    const std::uint64_t seed_ = std::uint64_t{std::random_device()()} << 32 | std::random_device()();
    std::vector<cpu_state> cpus_;
};

void run(void *state, halfpoll_xdp_burst *burst) { static_cast<filter *>(state)->run(*burst); }
void close(void *state) { delete static_cast<filter *>(state); }
int show(void *state, char *text, std::size_t size) { return static_cast<filter *>(state)->show(text, size); }

} // namespace
} // namespace halfpoll

HALFPOLL_XDP_PROGRAM("filter", halfpoll::open_program<halfpoll::filter>, halfpoll::run, halfpoll::close,
                     halfpoll::show);
