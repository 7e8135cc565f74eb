// SPDX-License-Identifier: BSD-3-Clause
#include "serve.hpp"

namespace halfpoll
{

namespace
{

using nlohmann::json;

json stats_of(const napi_stats &stats)
{
    const auto value = [](const std::atomic<std::uint64_t> &counter) {
        return counter.load(std::memory_order_relaxed);
    };
    return {{"polls", value(stats.polls)},
            {"empty_polls", value(stats.empty_polls)},
            {"packets", value(stats.packets)},
            {"interrupts", value(stats.interrupts)},
            {"spurious", value(stats.spurious)},
            {"unmasks", value(stats.unmasks)},
            {"completes", value(stats.completes)},
            {"missed", value(stats.missed)},
            {"deferred", value(stats.deferred)},
            {"park_rescues", value(stats.park_rescues)},
            {"driver_errors", value(stats.driver_errors)}};
}

json instance(const rx_queue &queue)
{
    const napi_struct &napi = queue.napi;
    json row = stats_of(napi.stats);
    row["name"] = napi.name;
    row["interface"] = queue.dev->name;
    row["cpu"] = queue.cpu->id;
    row["mode"] = to_string(napi.rung.load(std::memory_order_relaxed));
    row["reason"] = napi.rung_reason.load(std::memory_order_relaxed);
    // No race: only napi_configure() writes the settings, and only this thread calls it.
    row["napi_defer_hard_irqs"] = napi.config.napi_defer_hard_irqs;
    row["gro_flush_timeout"] = napi.config.gro_flush_timeout;
    row["irq_suspend_timeout"] = napi.config.irq_suspend_timeout;
    row["busy_poll"] = napi.config.busy_poll < 0 ? json("adaptive") : json(napi.config.busy_poll);
    row["threaded"] = to_string(napi.config.threaded);
    return row;
}

} // namespace

json show_napi(router &r)
{
    json rows = json::array();
    for (net_device *dev : r.core().devices()) {
        for (const auto &queue : dev->queues) {
            rows.push_back(instance(*queue));
        }
    }
    return {{"napi", rows}};
}

} // namespace halfpoll
