// SPDX-License-Identifier: BSD-3-Clause
#include "serve.hpp"

#include <halfpoll/backlog.hpp>
#include <halfpoll/softnet_data.hpp>

namespace halfpoll
{

using nlohmann::json;

namespace
{

std::uint64_t value(const std::atomic<std::uint64_t> &counter) { return counter.load(std::memory_order_relaxed); }

/// Returns the 15 columns of /proc/net/softnet_stat, of which six are 0 as in the kernel, and further columns of a
/// runtime CPU.
json softnet_row(router &r, unsigned cpu)
{
    const softnet_stats &stats = r.rt().cpu(cpu).stats;
    const net_cpu &net = r.core().cpu(cpu);
    const backlog_stats backlog = backlog_stats_of(net);
    json row = {{"cpu", cpu},
                {"processed", value(stats.processed)},
                {"dropped", backlog.dropped},
                {"time_squeeze", value(stats.time_squeeze)},
                {"received_rps", value(stats.received_rps)},
                {"flow_limit_count", value(stats.flow_limit_count)},
                {"backlog_len", backlog.input_pkt_queue + backlog.process_queue},
                {"input_qlen", backlog.input_pkt_queue},
                {"process_qlen", backlog.process_queue},
                {"thread", r.rt().options().cpus[cpu].name},
                {"affinity", r.rt().options().cpus[cpu].affinity},
                {"wakeups", value(stats.wakeups)},
                {"sleeps", value(stats.sleeps)},
                {"doorbells", value(stats.doorbells)},
                {"ksoftirqd", value(stats.ksoftirqd)},
                {"deferred", value(net.defer.deferred)},
                {"defer_over", value(net.defer.over)}};
    for (const char *name : {"zero4", "zero5", "zero6", "zero7", "zero8", "zero9"}) {
        row[name] = 0;
    }
    return row;
}

} // namespace

json show_softnet(router &r)
{
    json rows = json::array();
    for (unsigned cpu = 0; cpu < r.rt().cpus(); ++cpu) {
        rows.push_back(softnet_row(r, cpu));
    }
    return {{"softnet", rows}};
}

json show_softirqs(router &r)
{
    json rows = json::array();
    for (unsigned vec = 0; vec < NR_SOFTIRQS; ++vec) {
        json row = {{"softirq", softirq_to_name[vec]}};
        for (unsigned cpu = 0; cpu < r.rt().cpus(); ++cpu) {
            row["cpu" + std::to_string(cpu)] = value(r.rt().cpu(cpu).stats.softirqs[vec]);
        }
        rows.push_back(row);
    }
    return {{"softirqs", rows}};
}

} // namespace halfpoll
