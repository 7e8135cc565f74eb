// SPDX-License-Identifier: BSD-3-Clause
#include "rates.hpp"

#include <cmath>
#include <cstdint>
#include <set>
#include <string>

namespace halfpoll
{

namespace
{

using nlohmann::json;

const std::set<std::string> counters = {
    "rx_packets",        "rx_bytes",      "tx_packets", "tx_bytes",     "tx_dropped",      "rx_missed",
    "rx_errors",         "rx_nombuf",     "tx_errors",  "polls",        "empty_polls",     "packets",
    "interrupts",        "spurious",      "unmasks",    "completes",    "missed",          "deferred",
    "park_rescues",      "driver_errors", "processed",  "time_squeeze", "wakeups",         "sleeps",
    "doorbells",         "ksoftirqd",     "count",      "punted",       "dropped",         "received_rps",
    "flow_limit_count",  "rx_dropped",    "policed",    "steered",      "direct",          "moved",
    "put_off",           "pauses",        "refused",    "to_kernel",    "to_kernel_drops", "from_kernel",
    "from_kernel_drops", "busy_us",       "defer_over", "rx_nohandler"};

/// For each table, the column that identifies a row.
const std::map<std::string, std::string> names = {
    {"interfaces", "name"}, {"napi", "name"}, {"softnet", "cpu"}, {"cpu", "cpu"},        {"softirqs", "softirq"},
    {"drops", "reason"},    {"rps", "name"},  {"punt", "class"},  {"shadows", "shadow"}, {"xdp", "name"}};

/// Columns that are counters only in the table `xdp`.
const std::set<std::string> xdp_counters = {"pass", "drop", "tx", "redirect", "aborted"};

bool is_counter(const std::string &table, const std::string &key)
{
    return counters.contains(key) || (table == "softirqs" && key.starts_with("cpu")) ||
           (table == "xdp" && xdp_counters.contains(key));
}

/// One decimal is enough; a whole number is an integer in JSON.
json per_second(double from, double to, double seconds)
{
    const double rate = std::round((to < from ? to : to - from) / seconds * 10) / 10;
    return rate == std::floor(rate) ? json(static_cast<std::int64_t>(rate)) : json(rate);
}

void to_rates(const std::string &table, const json &before, json &after, double seconds)
{
    for (auto &[key, value] : after.items()) {
        if (value.is_object()) {
            to_rates(table, before.value(key, json::object()), value, seconds);
        } else if (value.is_number() && is_counter(table, key)) {
            value = per_second(before.value(key, 0.0), value.get<double>(), seconds);
        }
    }
}

json same_row(const json &rows, const std::string &name, const json &row)
{
    for (const json &candidate : rows) {
        if (candidate.contains(name) && candidate[name] == row[name]) {
            return candidate;
        }
    }
    return json::object();
}

} // namespace

json rates(const json &before, json after, double seconds)
{
    for (auto &[table, rows] : after.items()) {
        const auto name = names.find(table);
        if (name == names.end() || !rows.is_array()) {
            continue;
        }
        for (json &row : rows) {
            to_rates(table, same_row(before.value(table, json::array()), name->second, row), row, seconds);
        }
    }
    return after;
}

} // namespace halfpoll
