// SPDX-License-Identifier: BSD-3-Clause
#include "render.hpp"

#include <algorithm>
#include <map>
#include <vector>

namespace halfpoll
{

namespace
{

using nlohmann::json;
using columns = std::vector<std::string>;

/// The columns of each table in this order, by the list's key. A name with '/' is a path into an object. A list that is
/// not in this map shows all its keys.
const std::map<std::string, std::vector<columns>> tables = {
    {"interfaces",
     {{"name", "state", "driver", "shadow", "mac", "mtu", "speed_mbps", "failure"},
      {"name", "rx_packets", "rx_bytes", "rx_dropped", "tx_packets", "tx_bytes", "tx_dropped"},
      {"name", "rx_ip4", "rx_ip6", "rx_other", "punted", "dropped"},
      {"name", "device/rx_packets", "device/rx_missed", "device/rx_errors", "device/rx_nombuf", "device/rx_nohandler",
       "device/tx_packets", "device/tx_errors", "device/passed_in", "device/passed_out"}}},
    {"napi",
     {{"name", "cpu", "mode", "napi_defer_hard_irqs", "gro_flush_timeout", "irq_suspend_timeout", "busy_poll",
       "threaded", "reason"},
      {"name", "polls", "empty_polls", "packets", "interrupts", "spurious", "unmasks", "completes", "missed",
       "deferred", "park_rescues", "driver_errors"}}},
    {"cpu", {{"cpu", "thread", "affinity", "fifo_priority", "state", "served_by", "behind_us", "busy_us", "queues"}}},
    {"softnet",
     {{"processed", "dropped", "time_squeeze", "zero4", "zero5", "zero6", "zero7", "zero8", "zero9", "received_rps",
       "flow_limit_count", "backlog_len", "cpu", "input_qlen", "process_qlen"},
      {"cpu", "thread", "affinity", "wakeups", "sleeps", "doorbells", "ksoftirqd", "deferred", "defer_over"}}},
    {"rps",
     {{"name", "cpu", "rps_cpus", "rps_flow_cnt", "steered", "direct", "moved", "put_off", "pauses", "filters",
       "refused"}}},
    {"xdp", {{"name", "program", "pass", "drop", "tx", "redirect", "aborted"}}},
    {"xdp_configured", {{"name", "file"}}},
    {"xdp_programs", {{"program", "name", "queues", "file"}, {"program", "queues", "figures"}}},
    {"xdp_maps", {{"map", "type", "max_entries", "entries"}}},
    {"xdp_map_entries", {{"map", "key", "to", "qsize", "program"}}},
    {"xdp_redirect_errors", {{"error", "packets"}}},
    {"drops", {{"reason", "count"}}},
    {"punt", {{"class", "punted", "policed", "rate", "burst"}}},
    {"policy", {{"interface", "port", "family", "in", "out", "passes", "why"}}},
    {"shadows", {{"shadow", "interface", "to_kernel", "to_kernel_drops", "from_kernel", "from_kernel_drops"}}},
    {"fib", {{"prefix", "kind", "dev", "lladdr", "mtu", "why", "nexthop"}}},
    {"lookup", {{"to", "prefix", "kind", "dev", "lladdr", "mtu", "why", "nexthop"}}},
    {"route", {{"prefix", "type", "table", "metric", "via", "dev", "shadow", "weight", "nhid", "mtu", "tos", "from"}}},
    {"neigh", {{"address", "lladdr", "dev", "shadow"}}},
    {"nexthop", {{"nexthop", "kind", "dev", "via", "lladdr", "mtu", "why", "users"}}},
};

/// Formats an object as "ttl 5, no_route 3".
std::string list_of(const json &object)
{
    std::string text;
    for (const auto &[key, value] : object.items()) {
        text += (text.empty() ? "" : ", ") + key + " " + value.dump();
    }
    return text;
}

/// Formats the share of a group's flows that each device gets: "lan 66.7%, wan 33.3%".
std::string devs_of(const json &members)
{
    std::string text;
    for (const json &member : members) {
        text +=
            (text.empty() ? "" : ", ") + member.value("dev", "-") + " " + member.value("share", json()).dump() + "%";
    }
    return text.empty() ? "-" : text;
}

/// Joins an array with spaces, "lan-0 wan-0", "0 1"; of phrases also with semicolons.
std::string words_of(const json &words)
{
    const bool phrases = std::ranges::any_of(words, [](const json &word) {
        return word.is_string() && word.get_ref<const std::string &>().find(' ') != std::string::npos;
    });
    std::string text;
    for (const json &word : words) {
        text += (text.empty() ? "" : phrases ? "; " : " ") + (word.is_string() ? word.get<std::string>() : word.dump());
    }
    return text;
}

std::string cell(const json &row, const std::string &column)
{
    const json::json_pointer path("/" + column);
    if (!row.contains(path)) {
        return column == "dev" && row.contains("members") ? devs_of(row["members"]) : "-";
    }
    const json &value = row[path];
    const std::string text = value.is_string()   ? value.get<std::string>()
                             : value.is_object() ? list_of(value)
                             : value.is_array()  ? words_of(value)
                                                 : value.dump();
    return text.empty() ? "-" : text;
}

/// The heading of a column: "device/rx_packets" becomes "device_rx_packets".
std::string title(std::string column)
{
    std::ranges::replace(column, '/', '_');
    return column;
}

std::string line_of(const std::vector<std::string> &cells, const table_layout &layout)
{
    std::string line;
    for (std::size_t c = 0; c < cells.size(); ++c) {
        const std::string pad(layout.widths[c] - cells[c].size(), ' ');
        line += (c ? "  " : "") + (layout.right[c] ? pad + cells[c] : cells[c] + pad);
    }
    return line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
}

/// Formats rows under the columns of `layout`; the first call for a layout also formats the header.
std::string table(const json &rows, table_layout &layout)
{
    const std::size_t n = layout.names.size();
    std::vector<std::vector<std::string>> cells;
    if (layout.widths.empty()) {
        layout.widths.resize(n);
        layout.right.assign(n, true);
        cells.emplace_back();
        std::ranges::transform(layout.names, std::back_inserter(cells.front()), title);
    }
    for (const json &row : rows) {
        cells.emplace_back();
        for (std::size_t c = 0; c < n; ++c) {
            cells.back().push_back(cell(row, layout.names[c]));
            const json::json_pointer path("/" + layout.names[c]);
            layout.right[c] = layout.right[c] && (!row.contains(path) || row[path].is_number());
        }
    }
    for (const auto &row : cells) {
        for (std::size_t c = 0; c < n; ++c) {
            layout.widths[c] = std::max(layout.widths[c], row[c].size());
        }
    }
    std::string out;
    for (const auto &row : cells) {
        out += line_of(row, layout);
    }
    return out;
}

columns all_keys(const json &rows)
{
    columns keys;
    for (const auto &[key, value] : rows.front().items()) {
        keys.push_back(key);
    }
    std::ranges::stable_partition(keys, [&](const std::string &key) { return rows.front()[key].is_string(); });
    return keys;
}

/// A route lookup (`show route TO`) has other columns than a list of kernel routes.
std::string view_of(const std::string &name, const json &rows)
{
    return name == "route" && !rows.empty() && rows.front().contains("to") ? "lookup" : name;
}

std::string list(const std::string &name, const json &rows)
{
    const auto known = tables.find(view_of(name, rows));
    const std::vector<columns> views = known == tables.end() ? std::vector<columns>{all_keys(rows)} : known->second;
    std::string out;
    for (const columns &names : views) {
        table_layout layout{names, {}, {}};
        out += (out.empty() ? "" : "\n") + table(rows, layout);
    }
    return out;
}

std::string nothing_of(std::string name)
{
    std::ranges::replace(name, '_', ' ');
    return "no " + name + "\n";
}

std::string pairs(const json &object)
{
    std::size_t width = 0;
    for (const auto &[key, value] : object.items()) {
        width = std::max(width, key.size());
    }
    std::string out;
    for (const auto &[key, value] : object.items()) {
        out += key + std::string(width - key.size() + 2, ' ') + cell(object, key) + "\n";
    }
    return out;
}

} // namespace

std::string render_page(const std::string &key, const json &rows, table_layout &layout)
{
    if (rows.empty()) {
        return "";
    }
    if (layout.names.empty()) {
        layout.names = tables.at(view_of(key, rows)).front();
    }
    return table(rows, layout);
}

std::string render(const json &reply)
{
    std::string out, empty;
    json figures = json::object();
    for (const auto &[key, value] : reply.items()) {
        if (value.is_array() && value.empty()) {
            empty = empty.empty() ? nothing_of(key) : empty; // printed only if the reply has nothing else
        } else if (value.is_array()) {
            out += (out.empty() ? "" : "\n") + list(key, value);
        } else if (value.is_object()) {
            out += pairs(value);
        } else {
            figures[key] = value;
        }
    }
    out = out.empty() ? empty : out;
    return out + (figures.empty() ? "" : "\n" + pairs(figures));
}

} // namespace halfpoll
