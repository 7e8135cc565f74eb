// SPDX-License-Identifier: BSD-3-Clause
#include "apps/halfpoll/config/cpu_list.hpp"
#include "serve.hpp"

#include <algorithm>

namespace halfpoll
{

namespace
{

using nlohmann::json;
using names = std::vector<std::string_view>;

std::string listed(const names &words)
{
    std::string text;
    for (std::size_t i = 0; i < words.size(); ++i) {
        text += (i == 0 ? "" : i + 1 == words.size() ? " or " : ", ") + std::string(words[i]);
    }
    return text;
}

void refuse_unknown(const json &values, const names &known)
{
    if (!values.is_object() || values.empty()) {
        throw error("no setting, expected " + listed(known));
    }
    for (const auto &[key, value] : values.items()) {
        if (!std::ranges::count(known, key)) {
            throw error("unknown setting " + key + ", expected " + listed(known));
        }
    }
}

/// Reads a number and checks its range; if the key is absent, `setting` is unchanged. `or_else`: other allowed values,
/// for the message.
template <typename T>
void take(const json &values, const char *key, T &setting, const setting_range &range, const std::string &or_else = "")
{
    const auto it = values.find(key);
    if (it == values.end()) {
        return;
    }
    // An unsigned number above 63 bits would be read as a negative one.
    const bool fits = it->is_number_integer() && !(it->is_number_unsigned() && it->get<std::uint64_t>() > INT64_MAX);
    if (!fits || it->get<std::int64_t>() < range.min || it->get<std::int64_t>() > range.max) {
        throw error(std::string(key) + ": found " + it->dump(-1, ' ', false, json::error_handler_t::replace) +
                    ", expected " + or_else + "an integer from " + std::to_string(range.min) + " to " +
                    std::to_string(range.max));
    }
    setting = static_cast<T>(it->get<std::int64_t>());
}

/// Reads one of several words.
template <typename T>
void take_word(const json &values, const char *key, T &setting, const names &words)
{
    const auto it = values.find(key);
    if (it == values.end()) {
        return;
    }
    const auto found = std::ranges::find_if(words, [&](std::string_view word) { return *it == word; });
    if (found == words.end()) {
        throw error(std::string(key) + ": found " + it->dump(-1, ' ', false, json::error_handler_t::replace) +
                    ", expected " + listed(words));
    }
    setting = static_cast<T>(found - words.begin());
}

/// Reads a set of CPUs, given as a text or as one number.
void take_cpus(const json &values, const char *key, std::vector<unsigned> &list, unsigned cpus)
{
    const auto it = values.find(key);
    if (it == values.end()) {
        return;
    }
    const std::string found =
        it->is_string() ? it->get<std::string>() : it->dump(-1, ' ', false, json::error_handler_t::replace);
    const auto parsed = parse_cpu_list(found, cpus);
    if (!parsed) {
        throw error(std::string(key) + ": found " + found + ", expected " + cpu_list_expected(cpus));
    }
    list = *parsed;
}

napi_config merged(napi_config config, const json &values)
{
    take_word(values, "threaded", config.threaded, threaded_names());
    take(values, "napi_defer_hard_irqs", config.napi_defer_hard_irqs, NAPI_DEFER_HARD_IRQS);
    take(values, "gro_flush_timeout", config.gro_flush_timeout, NAPI_TIMEOUT_NS);
    take(values, "irq_suspend_timeout", config.irq_suspend_timeout, NAPI_TIMEOUT_NS);
    if (values.value("busy_poll", json()) == "adaptive") {
        config.busy_poll = -1;
    } else {
        take(values, "busy_poll", config.busy_poll, BUSY_POLL_USECS, "adaptive or ");
    }
    return config;
}

/// Refuses threads for an instance that has an interrupt thread: that thread polls it.
void refuse_second_thread(router &r, const std::string &name, const json &values)
{
    if (merged({}, values).threaded == napi_threaded::disabled) {
        return;
    }
    for (const port_config &port : r.cfg().ports) {
        const net_device &dev = *r.core().dev_get_by_name(port.options.name);
        const bool meant = name == dev.name ||
                           std::ranges::any_of(dev.queues, [&](const auto &queue) { return name == queue->napi.name; });
        if (meant && !port.irq_priority.empty()) {
            throw error("threaded: found " + values["threaded"].dump() +
                        ", expected disabled, for the thread of its interrupt (irq_priority) polls " + name);
        }
    }
}

json set_napi(router &r, const std::string &name, const json &values)
{
    refuse_unknown(values,
                   {"napi_defer_hard_irqs", "gro_flush_timeout", "irq_suspend_timeout", "busy_poll", "threaded"});
    if (merged({}, values).threaded != napi_threaded::disabled && r.cfg().exclusion == exclusion_mode::exclusive) {
        throw error("threaded: found " + values["threaded"].dump() +
                    ", expected disabled, for exclusion mode exclusive "
                    "allows one bottom-half thread on a CPU (start with exclusion = \"big\" or \"nested\")");
    } // refused before any instance changes
    refuse_second_thread(r, name, values);
    json changed = json::array();
    for (net_device *dev : r.core().devices()) {
        for (const auto &queue : dev->queues) {
            if (dev->failure.empty() && (name == queue->napi.name || name == dev->name)) {
                napi_configure(queue->napi, merged(queue->napi.config, values));
                changed.push_back(queue->napi.name);
            }
        }
        if (name == dev->name && !dev->queues.empty()) {
            dev->options.napi = merged(dev->options.napi, values); // for the next time it is opened
        }
    }
    if (changed.empty()) {
        throw error("no NAPI instance or interface is called \"" + name + "\" (halfpoll show napi)");
    }
    return {{"changed", changed}};
}

rps_config merged(rps_config config, const json &values, unsigned cpus)
{
    take_cpus(values, "rps_cpus", config.rps_cpus, cpus);
    take(values, "rps_flow_cnt", config.rps_flow_cnt, RPS_FLOW_CNT);
    return config;
}

json set_rps(router &r, const std::string &name, const json &values)
{
    const unsigned cpus = r.rt().general_cpus();
    refuse_unknown(values, {"rps_cpus", "rps_flow_cnt"});
    merged({}, values, cpus); // throws before any queue changes
    json changed = json::array();
    for (net_device *dev : r.core().devices()) {
        for (const auto &queue : dev->queues) {
            if (name == queue->napi.name || name == dev->name) {
                rps_configure(*queue, merged(queue->rps_settings, values, cpus));
                changed.push_back(queue->napi.name);
            }
        }
        if (name == dev->name && !dev->queues.empty()) {
            dev->options.rps = merged(dev->options.rps, values, cpus); // for the next time it is opened
        }
    }
    if (changed.empty()) {
        throw error("no rx queue or interface is called \"" + name + "\" (halfpoll show rps)");
    }
    return {{"changed", changed}};
}

json set_runtime(router &r, const json &values)
{
    refuse_unknown(values, {"netdev_budget", "netdev_budget_usecs", "netdev_max_backlog", "skb_defer_max",
                            "rps_sock_flow_entries", "flow_limit_cpu_bitmap", "flow_limit_table_len"});
    unsigned packets = r.rt().netdev_budget(), usecs = r.rt().netdev_budget_usecs();
    take(values, "netdev_budget", packets, NETDEV_BUDGET);
    take(values, "netdev_budget_usecs", usecs, NETDEV_BUDGET_USECS);
    unsigned entries = r.cfg().rps_sock_flow_entries;
    flow_limit_config limit = r.cfg().flow_limit;
    take(values, "rps_sock_flow_entries", entries, RPS_SOCK_FLOW_ENTRIES);
    take_cpus(values, "flow_limit_cpu_bitmap", limit.flow_limit_cpu_bitmap, r.rt().general_cpus());
    take(values, "flow_limit_table_len", limit.flow_limit_table_len, FLOW_LIMIT_TABLE_LEN);
    unsigned backlog = r.core().netdev_max_backlog();
    take(values, "netdev_max_backlog", backlog, {1, r.core().backlog_room()});
    unsigned defer = r.core().skb_defer_max();
    take(values, "skb_defer_max", defer, SKB_DEFER_MAX_RANGE);
    r.set_flow_limit(limit); // throws if the length is not a power of two
    r.set_netdev_budget(packets, usecs);
    r.set_netdev_max_backlog(backlog);
    r.set_skb_defer_max(defer);
    r.set_rps_sock_flow_entries(entries);
    return {{"changed", json::array({"runtime"})}};
}

json set_punt(router &r, const std::string &name, const json &values)
{
    refuse_unknown(values, {"rate", "burst"});
    names classes;
    for (unsigned c = 0; c < PUNT_CLASSES; ++c) {
        classes.push_back(to_string(static_cast<punt_class>(c)));
    }
    const auto found = std::ranges::find(classes, name);
    if (found == classes.end()) {
        throw error("no punt class is called \"" + name + "\", expected " + listed(classes));
    }
    const auto c = static_cast<punt_class>(found - classes.begin());
    punt_limit limit = r.cfg().punt[c];
    take(values, "rate", limit.packets_per_second, PUNT_RATE);
    take(values, "burst", limit.burst, PUNT_BURST);
    r.set_punt_limit(c, limit);
    return {{"changed", json::array({name})}};
}

json set_autoscale(router &r, const json &values)
{
    refuse_unknown(values, {"target_us", "min_cpus", "low_percent", "settle_ms"});
    autoscale_limits limits = r.scaler().limits();
    ktime_t target = limits.target / NSEC_PER_USEC, settle = limits.settle / NSEC_PER_MSEC;
    take(values, "target_us", target, AUTOSCALE_TARGET_US);
    take(values, "min_cpus", limits.min_cpus, setting_range{1, r.rt().general_cpus()});
    take(values, "low_percent", limits.low_percent, AUTOSCALE_LOW_PERCENT);
    take(values, "settle_ms", settle, AUTOSCALE_SETTLE_MS);
    limits.target = target * NSEC_PER_USEC;
    limits.settle = settle * NSEC_PER_MSEC;
    r.scaler().set(limits);
    return {{"changed", json::array({"autoscale"})}};
}

json set_log(router &r, const json &values)
{
    refuse_unknown(values, {"level"});
    log_config log = r.cfg().log;
    take_word(values, "level", log.level, log_level_names());
    r.set_log(log);
    return {{"changed", json::array({"log"})}};
}

} // namespace

json serve_set(router &r, const std::string &what, const std::string &name, const json &values)
{
    if (what == "napi") {
        return set_napi(r, name, values);
    }
    if (what == "rps") {
        return set_rps(r, name, values);
    }
    if (what == "runtime") {
        return set_runtime(r, values);
    }
    if (what == "punt") {
        return set_punt(r, name, values);
    }
    if (what == "autoscale") {
        return set_autoscale(r, values);
    }
    if (what == "log") {
        return set_log(r, values);
    }
    throw error("bad request: nothing called \"" + what + "\" to set");
}

} // namespace halfpoll
