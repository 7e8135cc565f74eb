// SPDX-License-Identifier: BSD-3-Clause
#include "serve.hpp"

#include <halfpoll/softnet_data.hpp>

namespace halfpoll
{

namespace
{

using nlohmann::json;

const char *state_of(const router &r, const runtime &rt, unsigned cpu)
{
    return rt.cpu_online(cpu) ? "online" : r.scaler().has_parked(cpu) ? "parked" : "offline";
}

json queues_of(net_core &core, unsigned cpu)
{
    json names = json::array();
    for (const net_device *dev : core.devices()) {
        for (const auto &queue : dev->queues) {
            if (queue->cpu->id == cpu) {
                names.push_back(queue->napi.name);
            }
        }
    }
    return names;
}

} // namespace

json show_cpu(router &r)
{
    json rows = json::array();
    const ktime_t now = r.rt().now();
    for (unsigned cpu = 0; cpu < r.rt().cpus(); ++cpu) {
        const cpu_options &options = r.rt().options().cpus[cpu];
        const softnet_stats &stats = r.rt().cpu(cpu).stats;
        const ktime_t since = stats.behind_since.load(std::memory_order_relaxed);
        rows.push_back({{"cpu", cpu},
                        {"thread", options.name},
                        {"affinity", options.affinity},
                        {"fifo_priority", options.fifo_priority},
                        {"state", state_of(r, r.rt(), cpu)},
                        {"served_by", r.rt().served_by(cpu)},
                        {"behind_us", since == 0 ? 0 : (now - since) / NSEC_PER_USEC},
                        {"busy_us", stats.busy.load(std::memory_order_relaxed) / NSEC_PER_USEC},
                        {"queues", queues_of(r.core(), cpu)}});
    }
    const autoscale_limits &limits = r.scaler().limits();
    return {{"cpu", rows},
            {"autoscale",
             {{"target_us", limits.target / NSEC_PER_USEC},
              {"min_cpus", limits.min_cpus},
              {"low_percent", limits.low_percent},
              {"settle_ms", limits.settle / NSEC_PER_MSEC}}}};
}

json serve_cpu(router &r, const std::string &what, const json &number)
{
    if (what != "online" && what != "offline") {
        throw error("bad request: a CPU goes \"online\" or \"offline\", not \"" + what + "\"");
    }
    if (!number.is_number_unsigned() || number.get<std::uint64_t>() >= r.rt().cpus()) {
        throw error("cpu: found " + number.dump(-1, ' ', false, json::error_handler_t::replace) +
                    ", expected an integer from 0 to " + std::to_string(r.rt().cpus() - 1) + " (halfpoll show cpu)");
    }
    const unsigned cpu = number.get<unsigned>();
    r.set_cpu_online(cpu, what == "online");
    return {{"changed", cpu}, {"state", state_of(r, r.rt(), cpu)}};
}

} // namespace halfpoll
