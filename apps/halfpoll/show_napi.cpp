// SPDX-License-Identifier: BSD-3-Clause
#include "serve.hpp"

#include <climits>

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
    // Only napi_configure() writes the settings, and only this thread calls it.
    row["napi_defer_hard_irqs"] = napi.config.napi_defer_hard_irqs;
    row["gro_flush_timeout"] = napi.config.gro_flush_timeout;
    row["irq_suspend_timeout"] = napi.config.irq_suspend_timeout;
    row["busy_poll"] = napi.config.busy_poll < 0 ? json("adaptive") : json(napi.config.busy_poll);
    return row;
}

/// A number setting, checked; absent keys keep the value.
template <typename T>
void take(const json &values, const char *key, T &setting, std::int64_t max)
{
    const auto it = values.find(key);
    if (it == values.end()) {
        return;
    }
    if (!it->is_number_integer() || it->get<std::int64_t>() < 0 || it->get<std::int64_t>() > max) {
        throw error(std::string(key) + ": found " + it->dump() + ", expected an integer from 0 to " +
                    std::to_string(max));
    }
    setting = static_cast<T>(it->get<std::int64_t>());
}

napi_config merged(napi_config config, const json &values)
{
    for (const auto &[key, value] : values.items()) {
        if (key != "napi_defer_hard_irqs" && key != "gro_flush_timeout" && key != "irq_suspend_timeout" &&
            key != "busy_poll") {
            throw error("unknown setting " + key + ", expected napi_defer_hard_irqs, gro_flush_timeout, " +
                        "irq_suspend_timeout or busy_poll");
        }
    }
    take(values, "napi_defer_hard_irqs", config.napi_defer_hard_irqs, INT_MAX);
    take(values, "gro_flush_timeout", config.gro_flush_timeout, 10 * NSEC_PER_SEC);
    take(values, "irq_suspend_timeout", config.irq_suspend_timeout, 10 * NSEC_PER_SEC);
    if (values.value("busy_poll", json()) == "adaptive") {
        config.busy_poll = -1;
    } else {
        take(values, "busy_poll", config.busy_poll, 1'000'000);
    }
    return config;
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

json set_napi(router &r, const std::string &name, const json &values)
{
    json changed = json::array();
    for (net_device *dev : r.core().devices()) {
        for (const auto &queue : dev->queues) {
            if (dev->failure.empty() && (name == queue->napi.name || name == dev->name)) {
                napi_configure(queue->napi, merged(queue->napi.config, values));
                changed.push_back(queue->napi.name);
            }
        }
    }
    if (changed.empty()) {
        throw error("no NAPI instance or interface is called \"" + name + "\" (halfpoll show napi)");
    }
    return {{"changed", changed}};
}

} // namespace halfpoll
