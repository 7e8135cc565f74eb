// SPDX-License-Identifier: BSD-3-Clause
#include "serve.hpp"
#include "show_tables.hpp"

namespace halfpoll
{

namespace
{

using nlohmann::json;

/// Returns a counter of dev_stats, summed over all CPUs.
std::uint64_t sum(net_core &core, ifindex_t ifindex, std::atomic<std::uint64_t> dev_stats::*counter)
{
    std::uint64_t total = 0;
    for (unsigned cpu = 0; cpu < core.cpus(); ++cpu) {
        total += (core.cpu(cpu).dev[ifindex].*counter).load(std::memory_order_relaxed);
    }
    return total;
}

json device_counters(const port &driver)
{
    const port_counters c = driver.counters();
    return {{"rx_packets", c.rx_packets}, {"rx_bytes", c.rx_bytes},    {"rx_missed", c.rx_missed},
            {"rx_errors", c.rx_errors},   {"rx_nombuf", c.rx_nombuf},  {"rx_nohandler", c.rx_nohandler},
            {"tx_packets", c.tx_packets}, {"tx_bytes", c.tx_bytes},    {"tx_errors", c.tx_errors},
            {"passed_in", c.passed_in},   {"passed_out", c.passed_out}};
}

/// Adds counts of the received packets by family, and of those that were punted or dropped.
void add_received(json &row, const rx_counts &counts)
{
    json punted = json::object();
    json dropped = json::object();
    for (unsigned c = 0; c < PUNT_CLASSES; ++c) {
        if (counts.punted[c] > 0) {
            punted[to_string(static_cast<punt_class>(c))] = counts.punted[c];
        }
    }
    for (unsigned reason = 0; reason < DROP_REASONS; ++reason) {
        if (counts.dropped[reason] > 0) {
            dropped[drop_reason_name(reason)] = counts.dropped[reason];
        }
    }
    row.update({{"rx_ip4", counts.ip4},
                {"rx_ip6", counts.ip6},
                {"rx_other", counts.other},
                {"punted", punted},
                {"dropped", dropped}});
}

const char *state_of(const net_device &dev, const shadow *s)
{
    if (!dev.failure.empty()) {
        return dev.recovering ? "recovering" : "failed";
    }
    if (s && !s->failure.empty()) {
        return "no shadow";
    }
    if (s && s->moved) {
        return "shadow moved";
    }
    return dev.carrier.load(std::memory_order_relaxed) ? "up" : "no carrier";
}

std::string failure_of(const net_device &dev, const shadow *s)
{
    if (!dev.failure.empty() || !s) {
        return dev.failure;
    }
    return s->moved ? "its shadow is in another network namespace, whose kernel part sees to all packets" : s->failure;
}

json interface(router &r, net_device &dev)
{
    const shadow *s = r.slow().of_device(dev);
    json row = {{"name", dev.name},
                {"ifindex", dev.ifindex},
                {"state", state_of(dev, s)},
                {"carrier", dev.carrier.load(std::memory_order_relaxed)},
                {"mac", lladdr_text(dev.mac)},
                {"mtu", dev.mtu.load(std::memory_order_relaxed)},
                {"shadow", s ? s->name : ""},
                {"failure", failure_of(dev, s)},
                {"rx_packets", sum(r.core(), dev.ifindex, &dev_stats::rx_packets)},
                {"rx_bytes", sum(r.core(), dev.ifindex, &dev_stats::rx_bytes)},
                {"rx_dropped", sum(r.core(), dev.ifindex, &dev_stats::rx_dropped)},
                {"tx_packets", sum(r.core(), dev.ifindex, &dev_stats::tx_packets)},
                {"tx_bytes", sum(r.core(), dev.ifindex, &dev_stats::tx_bytes)},
                {"tx_dropped", sum(r.core(), dev.ifindex, &dev_stats::tx_dropped)}};
    add_received(row, r.fwd().counts(dev.ifindex));
    if (dev.driver && dev.failure.empty()) {
        row["driver"] = dev.driver->info().driver;
        row["speed_mbps"] = dev.driver->link().speed_mbps;
        row["device"] = device_counters(*dev.driver);
    }
    return row;
}

} // namespace

json show_interfaces(router &r)
{
    json rows = json::array();
    for (net_device *dev : r.core().devices()) {
        rows.push_back(interface(r, *dev));
    }
    return {{"interfaces", rows}};
}

} // namespace halfpoll
