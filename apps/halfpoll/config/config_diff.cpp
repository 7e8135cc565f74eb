// SPDX-License-Identifier: BSD-3-Clause
#include "config_diff.hpp"
#include "buffer_need.hpp"

#include <algorithm>

namespace halfpoll
{

namespace
{

using sort = config_change::sort;

std::string text(const std::string &value) { return "\"" + value + "\""; }
std::string text(bool value) { return value ? "true" : "false"; }
template <typename T>
requires std::is_arithmetic_v<T> std::string text(T value) { return std::to_string(value); }
std::string text(const std::vector<unsigned> &values)
{
    std::string list;
    for (const unsigned value : values) {
        list += (list.empty() ? "" : ", ") + std::to_string(value);
    }
    return "[" + list + "]";
}
/// As it is written for one thread.
std::string cpu_text(const std::vector<unsigned> &cpus) { return cpus.size() == 1 ? text(cpus.front()) : text(cpus); }
std::string text(const policy_set &kinds)
{
    std::string list;
    for (std::size_t kind = 0; kind < kinds.size(); ++kind) {
        if (kinds[kind]) {
            list += (list.empty() ? "" : ", ") + text(std::string(policy_kind_names[kind]));
        }
    }
    return "[" + list + "]";
}
std::string busy_poll_text(int usecs) { return usecs < 0 ? text(std::string("adaptive")) : text(usecs); }

template <typename T>
std::string word(const std::vector<std::string_view> &words, T value)
{
    return std::string(words[static_cast<std::size_t>(value)]);
}

std::string port_text(const port_config &port)
{
    return "device " + text(port.device) + ", shadow " + text(port.shadow) + ", MTU " + text(port.options.mtu);
}

/// Records a change if the setting differs.
template <typename T>
bool compare(std::vector<config_change> &changes, const std::string &where, const char *key, const T &from, const T &to)
{
    if (from == to) {
        return false;
    }
    changes.push_back({sort::changed, where, key, text(from), text(to)});
    return true;
}

void compare_runtime(const config &from, const config &to, unsigned backlog_room, config_diff &diff)
{
    const std::string where = "[runtime]";
    compare(diff.refused, where, "cpus", from.cpus, to.cpus);
    compare(diff.refused, where, "fifo_priority", from.fifo_priority, to.fifo_priority);
    compare(diff.refused, where, "interrupts", from.interrupts, to.interrupts);
    compare(diff.refused, where, "exclusion", word(exclusion_names(), from.exclusion),
            word(exclusion_names(), to.exclusion));
    compare(diff.refused, where, "ksoftirqd", from.ksoftirqd, to.ksoftirqd);
    compare(diff.refused, where, "irq_workd", from.irq_workd, to.irq_workd);
    compare(diff.refused, where, "thread_backlog_napi", from.thread_backlog_napi, to.thread_backlog_napi);
    compare(diff.refused, where, "napi_fifo_priority", from.napi_fifo_priority, to.napi_fifo_priority);
    if (from.flow_hash_key != to.flow_hash_key) { // the key is a secret: the change is reported without it
        const auto word = [](const config &c) { return c.flow_hash_key.empty() ? "random" : "as in the file"; };
        diff.refused.push_back({sort::changed, where, "flow_hash_key", word(from), word(to)});
    }
    compare(diff.refused, where, "slow_path_threads", from.slow_path_threads, to.slow_path_threads);
    if (from.slow_path_cpu != to.slow_path_cpu) {
        diff.refused.push_back(
            {sort::changed, where, "slow_path_cpu", cpu_text(from.slow_path_cpu), cpu_text(to.slow_path_cpu)});
    }
    compare(diff.refused, where, "slow_path_vhost", from.slow_path_vhost, to.slow_path_vhost);
    compare(diff.refused, where, "netns", from.netns, to.netns);
    compare(diff.refused, where, "vfio_intr", from.vfio_intr, to.vfio_intr);
    compare(diff.refused, where, "control", from.control, to.control);
    compare(diff.refused, where, "hugepages", from.hugepages, to.hugepages);
    compare(diff.refused, where, "memory_mb", from.memory_mb, to.memory_mb);
    if (!from.mbufs_chosen || !to.mbufs_chosen || buffers_at_rest(to) > from.mbufs) { // else the running pool is kept
        compare(diff.refused, where, "mbufs", from.mbufs, to.mbufs);
    }
    compare(diff.refused, where, "trace", from.trace, to.trace);
    compare(diff.refused, where, "trace_dir", from.trace_dir, to.trace_dir);
    compare(diff.changes, where, "netdev_budget", from.netdev_budget, to.netdev_budget);
    compare(diff.changes, where, "netdev_budget_usecs", from.netdev_budget_usecs, to.netdev_budget_usecs);
    compare(to.netdev_max_backlog > backlog_room ? diff.refused : diff.changes, where, "netdev_max_backlog",
            from.netdev_max_backlog, to.netdev_max_backlog);
    compare(diff.changes, where, "skb_defer_max", from.skb_defer_max, to.skb_defer_max);
    compare(diff.changes, where, "rps_sock_flow_entries", from.rps_sock_flow_entries, to.rps_sock_flow_entries);
    compare(diff.changes, where, "flow_limit_cpu_bitmap", from.flow_limit.flow_limit_cpu_bitmap,
            to.flow_limit.flow_limit_cpu_bitmap);
    compare(diff.changes, where, "flow_limit_table_len", from.flow_limit.flow_limit_table_len,
            to.flow_limit.flow_limit_table_len);
    compare(diff.changes, where, "remove_shadows", from.remove_shadows, to.remove_shadows);
}

std::string map_text(const xdp_map_config &map)
{
    return std::string(to_string(map.type)) + ", entries " + std::to_string(map.entries.size());
}

/// Refuses every change of [xdp_map]: attached programs hold the maps. `halfpoll xdp map` changes entries at run time.
void compare_maps(const config &from, const config &to, config_diff &diff)
{
    const auto find = [](const config &cfg, const std::string &name) {
        const auto found = std::ranges::find(cfg.xdp_maps, name, &xdp_map_config::name);
        return found == cfg.xdp_maps.end() ? nullptr : &*found;
    };
    for (const xdp_map_config &map : from.xdp_maps) {
        const xdp_map_config *same = find(to, map.name);
        const std::string where = "[xdp_map." + map.name + "]";
        if (!same) {
            diff.refused.push_back({sort::removed, where, "", map_text(map), ""});
        } else if (*same != map) {
            diff.refused.push_back({sort::changed, where, "map", map_text(map), map_text(*same)});
        }
    }
    for (const xdp_map_config &map : to.xdp_maps) {
        if (!find(from, map.name)) {
            diff.refused.push_back({sort::added, "[xdp_map." + map.name + "]", "", "", map_text(map)});
        }
    }
}

void compare_punt(const config &from, const config &to, config_diff &diff)
{
    for (unsigned c = 0; c < PUNT_CLASSES; ++c) {
        const std::string where = std::string("[punt.") + to_string(static_cast<punt_class>(c)) + "]";
        compare(diff.changes, where, "rate", from.punt[c].packets_per_second, to.punt[c].packets_per_second);
        compare(diff.changes, where, "burst", from.punt[c].burst, to.punt[c].burst);
    }
}

void compare_autoscale(const autoscale_limits &from, const autoscale_limits &to, config_diff &diff)
{
    const std::string where = "[autoscale]";
    compare(diff.changes, where, "target_us", from.target / NSEC_PER_USEC, to.target / NSEC_PER_USEC);
    compare(diff.changes, where, "min_cpus", from.min_cpus, to.min_cpus);
    compare(diff.changes, where, "low_percent", from.low_percent, to.low_percent);
    compare(diff.changes, where, "settle_ms", from.settle / NSEC_PER_MSEC, to.settle / NSEC_PER_MSEC);
}

void compare_log(const log_config &from, const log_config &to, config_diff &diff)
{
    compare(diff.changes, "[log]", "level", std::string(to_string(from.level)), std::string(to_string(to.level)));
    compare(diff.changes, "[log]", "target", from.target, to.target);
}

/// Compares the settings whose change reopens the port, with the same device or another one. Interrupt threads are made
/// when the program starts, so a change of irq_priority is refused.
bool compare_identity(const port_config &from, const port_config &to, config_diff &diff)
{
    const std::string where = "port " + from.options.name;
    std::vector<config_change> &changes = diff.changes;
    const std::size_t before = changes.size();
    compare(diff.refused, where, "irq_priority", from.irq_priority, to.irq_priority);
    compare(changes, where, "device", from.device, to.device);
    compare(changes, where, "shadow", from.shadow, to.shadow);
    compare(changes, where, "rx_queues", from.options.rx_queues, to.options.rx_queues);
    compare(from.irq_priority.empty() ? changes : diff.refused, where, "cpus", from.options.cpus, to.options.cpus);
    compare(changes, where, "descriptors", from.options.descriptors, to.options.descriptors);
    compare(changes, where, "ntuple", from.options.ntuple, to.options.ntuple);
    return changes.size() > before;
}

/// Compares the settings that can be changed on an open port.
bool compare_options(const net_device_options &from, const net_device_options &to, std::vector<config_change> &changes)
{
    const std::string where = "port " + from.name;
    const std::size_t before = changes.size();
    compare(changes, where, "mtu", from.mtu, to.mtu);
    compare(changes, where, "promiscuous", from.promiscuous, to.promiscuous);
    compare(changes, where, "napi_defer_hard_irqs", from.napi.napi_defer_hard_irqs, to.napi.napi_defer_hard_irqs);
    compare(changes, where, "gro_flush_timeout", from.napi.gro_flush_timeout, to.napi.gro_flush_timeout);
    compare(changes, where, "irq_suspend_timeout", from.napi.irq_suspend_timeout, to.napi.irq_suspend_timeout);
    compare(changes, where, "threaded", word(threaded_names(), from.napi.threaded),
            word(threaded_names(), to.napi.threaded));
    compare(changes, where, "rps_cpus", from.rps.rps_cpus, to.rps.rps_cpus);
    compare(changes, where, "rps_flow_cnt", from.rps.rps_flow_cnt, to.rps.rps_flow_cnt);
    if (from.napi.busy_poll != to.napi.busy_poll) {
        changes.push_back({sort::changed, where, "busy_poll", busy_poll_text(from.napi.busy_poll),
                           busy_poll_text(to.napi.busy_poll)});
    }
    return changes.size() > before;
}

/// The program's name, "none" if there is no program.
std::string xdp_text(const xdp_config &xdp) { return xdp.name.empty() ? "none" : text(xdp.name); }

/// Returns true also if only the program behind the same name differs.
bool compare_xdp(const port_config &from, const port_config &to, std::vector<config_change> &changes)
{
    if (from.xdp.name != to.xdp.name) {
        changes.push_back({sort::changed, "port " + to.options.name, "xdp", xdp_text(from.xdp), xdp_text(to.xdp)});
    }
    return from.xdp != to.xdp;
}

/// Shortens a text to its beginning, on one line.
std::string on_a_line(std::string value)
{
    constexpr std::size_t shown = 40;
    std::ranges::replace(value, '\n', ' ');
    return text(value.size() > shown ? value.substr(0, shown) + "..." : value);
}

const xdp_config *find_xdp(const config &cfg, const std::string &name)
{
    const auto found = std::ranges::find(cfg.xdp, name, &xdp_config::name);
    return found == cfg.xdp.end() ? nullptr : &*found;
}

void compare_programs(const config &from, const config &to, config_diff &diff)
{
    for (const xdp_config &program : from.xdp) {
        const std::string where = "[xdp." + program.name + "]";
        if (const xdp_config *same = find_xdp(to, program.name)) {
            compare(diff.changes, where, "file", program.file, same->file);
            if (program.config != same->config) {
                diff.changes.push_back(
                    {sort::changed, where, "config", on_a_line(program.config), on_a_line(same->config)});
            }
        } else {
            diff.changes.push_back({sort::removed, where, "", "file " + text(program.file), ""});
        }
    }
    for (const xdp_config &program : to.xdp) {
        if (!find_xdp(from, program.name)) {
            diff.changes.push_back({sort::added, "[xdp." + program.name + "]", "", "", "file " + text(program.file)});
        }
    }
}

void compare_port(const port_config &from, const port_config &to, config_diff &diff)
{
    const bool reopened = compare_identity(from, to, diff);
    bool changed = compare_options(from.options, to.options, diff.changes);
    changed |= compare_xdp(from, to, diff.changes);
    if (reopened) {
        diff.replaced.push_back(to.options.name);
    } else if (changed) {
        diff.changed.push_back(to.options.name);
    }
}

void compare_ports(const config &from, const config &to, config_diff &diff)
{
    for (const port_config &port : from.ports) {
        const std::string &name = port.options.name;
        if (const port_config *same = find_port(to, name)) {
            compare_port(port, *same, diff);
        } else {
            diff.changes.push_back({sort::removed, "port " + name, "", port_text(port), ""});
            diff.removed.push_back(name);
        }
    }
    for (const port_config &port : to.ports) {
        const std::string &name = port.options.name;
        if (!find_port(from, name)) {
            diff.changes.push_back({sort::added, "port " + name, "", "", port_text(port)});
            diff.added.push_back(name);
        }
    }
}

/// Refuses to open ports that need what the EAL or the runtime takes only at its start: a PCI device, shareable packet
/// memory, interrupt threads.
void refuse_devices(const config &from, const config &to, bool shareable, config_diff &diff)
{
    std::vector<std::string> opened = diff.added;
    opened.insert(opened.end(), diff.replaced.begin(), diff.replaced.end());
    for (const std::string &name : opened) {
        const port_config &port = *find_port(to, name);
        const bool needs_threads = !port.irq_priority.empty() && !find_port(from, name);
        if (port.kind == device_kind::pci || (maps_memory(port) && !shareable) || needs_threads) {
            diff.refused.push_back({sort::added, "port " + name, "", "", port_text(port)});
        }
    }
}

} // namespace

const char *to_string(config_change::sort what) noexcept
{
    switch (what) {
    case sort::added:
        return "added";
    case sort::removed:
        return "removed";
    case sort::changed:
        break;
    }
    return "changed";
}

std::string to_string(const config_change &change)
{
    switch (change.what) {
    case sort::added:
        return "+ " + change.where + ": " + change.to;
    case sort::removed:
        return "- " + change.where + ": " + change.from;
    case sort::changed:
        break;
    }
    return "~ " + change.where + " " + change.key + ": " + change.from + " -> " + change.to;
}

config_diff diff_config(const config &running, const config &wanted, bool shareable, unsigned backlog_room)
{
    config_diff diff;
    compare_ports(running, wanted, diff);
    compare_programs(running, wanted, diff);
    compare_maps(running, wanted, diff);
    compare_runtime(running, wanted, backlog_room, diff);
    compare(diff.changes, "[forward]", "obey", running.obey, wanted.obey);
    compare(diff.changes, "[forward]", "kernel_pass", running.kernel_pass, wanted.kernel_pass);
    compare_punt(running, wanted, diff);
    compare_autoscale(running.autoscale, wanted.autoscale, diff);
    compare_log(running.log, wanted.log, diff);
    refuse_devices(running, wanted, shareable, diff);
    return diff;
}

const port_config *find_port(const config &cfg, const std::string &name)
{
    const auto found = std::ranges::find(cfg.ports, name, [](const port_config &p) { return p.options.name; });
    return found == cfg.ports.end() ? nullptr : &*found;
}

bool maps_memory(const port_config &port) { return port.device.starts_with("net_virtio_user"); }

} // namespace halfpoll
