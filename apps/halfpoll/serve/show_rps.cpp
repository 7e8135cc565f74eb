// SPDX-License-Identifier: BSD-3-Clause
#include "serve.hpp"

namespace halfpoll
{

namespace
{

using nlohmann::json;

/// Formats CPUs as "0,2".
std::string text_of(const std::vector<unsigned> &cpus)
{
    std::string text;
    for (const unsigned cpu : cpus) {
        text += (text.empty() ? "" : ",") + std::to_string(cpu);
    }
    return text;
}

json queue_row(rx_queue &queue)
{
    const rps_counters counters = rps_counters_of(queue);
    return {{"name", queue.napi.name},
            {"interface", queue.dev->name},
            {"cpu", queue.cpu->id},
            {"rps_cpus", queue.rps_settings.rps_cpus},
            {"rps_flow_cnt", queue.rps_settings.rps_flow_cnt},
            {"steered", counters.steered},
            {"direct", counters.direct},
            {"moved", counters.moved},
            {"put_off", counters.put_off},
            {"pauses", counters.pauses},
            {"filters", counters.filters},
            {"refused", counters.refused}};
}

} // namespace

json show_rps(router &r)
{
    json rows = json::array();
    for (net_device *dev : r.core().devices()) {
        for (const auto &queue : dev->queues) {
            rows.push_back(queue_row(*queue));
        }
    }
    const flow_limit_config &limit = flow_limit(r.core());
    return {{"rps", rows},
            {"rps_sock_flow_entries", rps_sock_flow_entries(r.core())},
            {"flow_limit_cpu_bitmap", text_of(limit.flow_limit_cpu_bitmap)},
            {"flow_limit_table_len", limit.flow_limit_table_len}};
}

} // namespace halfpoll
