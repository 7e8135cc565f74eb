// SPDX-License-Identifier: BSD-3-Clause
#include "serve.hpp"

namespace halfpoll
{

using nlohmann::json;

json show_softnet(router &r)
{
    json rows = json::array();
    for (unsigned cpu = 0; cpu < r.rt().cpus(); ++cpu) {
        const softnet_stats &stats = r.rt().cpu(cpu).stats;
        rows.push_back({{"cpu", cpu},
                        {"affinity", r.cfg().cpus[cpu]},
                        {"processed", stats.processed.load(std::memory_order_relaxed)},
                        {"time_squeeze", stats.time_squeeze.load(std::memory_order_relaxed)},
                        {"wakeups", stats.wakeups.load(std::memory_order_relaxed)},
                        {"sleeps", stats.sleeps.load(std::memory_order_relaxed)},
                        {"doorbells", stats.doorbells.load(std::memory_order_relaxed)},
                        {"ksoftirqd", stats.ksoftirqd.load(std::memory_order_relaxed)}});
    }
    return {{"softnet", rows}};
}

json show_softirqs(router &r)
{
    json rows = json::array();
    for (unsigned vec = 0; vec < NR_SOFTIRQS; ++vec) {
        json row = {{"softirq", softirq_to_name[vec]}};
        for (unsigned cpu = 0; cpu < r.rt().cpus(); ++cpu) {
            row["cpu" + std::to_string(cpu)] = r.rt().cpu(cpu).stats.softirqs[vec].load(std::memory_order_relaxed);
        }
        rows.push_back(row);
    }
    return {{"softirqs", rows}};
}

} // namespace halfpoll
