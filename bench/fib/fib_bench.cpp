// SPDX-License-Identifier: BSD-3-Clause
// Lookup and update costs of the forwarding tables (see ../scenario_fib.py).

#include "tables.hpp"

#include <benchmark/benchmark.h>
#include <rte_cycles.h>

#include <fstream>
#include <map>
#include <memory>
#include <time.h>
#include <unistd.h>

using namespace halfpoll;

namespace
{

constexpr unsigned burst = 32, nexthops = 16;

/// A table and its routes.
template <typename Fib, typename Addr>
struct table {
    explicit table(std::vector<tables::route<Addr>> r) : routes(std::move(r))
    {
        for (std::size_t i = 0; i < routes.size(); i++) {
            fib.insert(routes[i].addr, routes[i].len, 1 + i % nexthops);
        }
    }
    std::vector<tables::route<Addr>> routes;
    Fib fib{[](std::function<void()> fn) { fn(); }, 0, 1U << 19}; // frees at once: there is no reader
};
using table4 = table<fib4, std::uint32_t>;
using table6 = table<fib6, ip6_addr>;

std::vector<tables::route<std::uint32_t>> make_routes(std::uint32_t, std::size_t count) { return tables::ipv4(count); }
std::vector<tables::route<ip6_addr>> make_routes(const ip6_addr &, std::size_t count) { return tables::ipv6(count); }

/// The table with `count` routes. It is made when it is first asked for; only one exists at a time, since they are
/// large.
template <typename Table, typename Addr>
Table &table_of(std::size_t count)
{
    static std::unique_ptr<Table> current;
    if (!current || current->routes.size() != count) {
        current.reset();
        current = std::make_unique<Table>(make_routes(Addr{}, count));
    }
    return *current;
}

double thread_seconds()
{
    timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return static_cast<double>(ts.tv_sec) + static_cast<double>(ts.tv_nsec) * 1e-9;
}

/// TSC ticks per second.
double tsc_rate()
{
    static const double rate = [] {
        timespec from, to;
        clock_gettime(CLOCK_MONOTONIC, &from);
        const std::uint64_t start = rte_rdtsc();
        usleep(100'000);
        const std::uint64_t ticks = rte_rdtsc() - start;
        clock_gettime(CLOCK_MONOTONIC, &to);
        const double took =
            static_cast<double>(to.tv_sec - from.tv_sec) + static_cast<double>(to.tv_nsec - from.tv_nsec) * 1e-9;
        return static_cast<double>(ticks) / took;
    }();
    return rate;
}

template <typename Table, typename Addr>
void lookup(benchmark::State &state)
{
    Table &t = table_of<Table, Addr>(static_cast<std::size_t>(state.range(0)));
    const std::vector<Addr> to = tables::destinations(t.routes, static_cast<std::size_t>(state.range(1)));
    std::uint32_t found[burst];
    std::size_t at = 0;
    const double start = thread_seconds();
    for (auto _ : state) {
        t.fib.lookup_bulk(to.data() + at, found, burst);
        benchmark::DoNotOptimize(found);
        benchmark::ClobberMemory();
        at = at + burst < to.size() ? at + burst : 0;
    }
    const double packets = static_cast<double>(state.iterations()) * burst;
    state.counters["cycles"] = (thread_seconds() - start) * tsc_rate() / packets;
}

/// Removes a prefix and inserts it again.
template <typename Table, typename Addr>
void update(benchmark::State &state)
{
    Table &t = table_of<Table, Addr>(static_cast<std::size_t>(state.range(0)));
    std::mt19937_64 random(8);
    const double start = thread_seconds();
    for (auto _ : state) {
        const auto &r = t.routes[random() % t.routes.size()];
        t.fib.remove(r.addr, r.len);
        t.fib.insert(r.addr, r.len, 1 + random() % nexthops);
    }
    state.counters["ns"] = (thread_seconds() - start) * 1e9 / (2.0 * static_cast<double>(state.iterations()));
}

double resident_mb()
{
    std::size_t total = 0, resident = 0;
    std::ifstream("/proc/self/statm") >> total >> resident;
    return static_cast<double>(resident) * static_cast<double>(sysconf(_SC_PAGESIZE)) / 1e6;
}

/// Builds a full table from nothing.
template <typename Table, typename Addr>
void load(benchmark::State &state)
{
    table_of<Table, Addr>(1);
    auto routes = make_routes(Addr{}, static_cast<std::size_t>(state.range(0)));
    for (auto _ : state) {
        const double before = resident_mb(), start = thread_seconds();
        const Table t(routes);
        state.counters["ms"] = (thread_seconds() - start) * 1e3;
        state.counters["MB"] = resident_mb() - before;
    }
}

void sizes(benchmark::internal::Benchmark *b)
{
    for (const int routes : {1, 10'000, 100'000, 1'000'000}) {
        for (const int destinations : {4096, 1 << 20}) {
            b->Args({routes, destinations});
        }
    }
}

BENCHMARK_TEMPLATE(lookup, table4, std::uint32_t)->Name("lookup4")->Apply(sizes);
BENCHMARK_TEMPLATE(update, table4, std::uint32_t)->Name("update4")->Arg(1'000'000);
BENCHMARK_TEMPLATE(load, table4, std::uint32_t)->Name("load4")->Arg(1'000'000)->Iterations(1);
BENCHMARK_TEMPLATE(lookup, table6, ip6_addr)->Name("lookup6")->Apply(sizes);
BENCHMARK_TEMPLATE(update, table6, ip6_addr)->Name("update6")->Arg(200'000);
BENCHMARK_TEMPLATE(load, table6, ip6_addr)->Name("load6")->Arg(200'000)->Iterations(1);

} // namespace

BENCHMARK_MAIN();
