// SPDX-License-Identifier: BSD-3-Clause
#include "config.hpp"
#include "apps/halfpoll/nic/pci_device.hpp"
#include "buffer_need.hpp"
#include "cpu_list.hpp"
#include "irq_threads.hpp"
#include "toml_reader.hpp"

#include <algorithm>
#include <bit>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <linux/nsfs.h>
#include <map>
#include <net/if.h>
#include <regex.h>
#include <regex>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/un.h>
#include <unistd.h>

namespace halfpoll
{

namespace
{

bool valid_ifname(const std::string &name)
{
    return !name.empty() && name.size() < IFNAMSIZ && name != "." && name != ".." &&
           std::ranges::none_of(name, [](unsigned char c) { return c <= ' ' || c == '/' || c == ':' || c == 0x7f; });
}

constexpr const char *IFNAME_EXPECTED = "1 to 15 bytes without '/', ':' or blanks";

/// The default name of a port, from its device.
std::string device_name(const port_config &port)
{
    switch (port.kind) {
    case device_kind::af_xdp:
        return port.ifname();
    case device_kind::pci:
        return port.device;
    case device_kind::vdev:
        break;
    }
    const std::size_t prefix = std::string_view("net_").size();
    return port.device.substr(prefix, port.device.find(',') - prefix);
}

/// Parses one configuration file.
struct parser {
    problem_list &problems;
    const machine &on;
    config out;
    std::map<std::string, unsigned> names, shadows, devices; ///< line of the first use of each
    const toml::node *mbufs = nullptr;                       ///< null: the file does not set it
    const toml::node *memory_mb = nullptr;                   ///< null: the file does not set it

    void parse(const toml::table &root);

private:
    void read_runtime(const toml::table &table);
    void read_flow_hash_key(toml_reader &reader);
    void read_exclusion(toml_reader &reader);
    void read_slow_path_cpu(toml_reader &reader);
    void read_steering(toml_reader &reader);
    void read_cpu_list(toml_reader &reader, const char *key, std::vector<unsigned> &list);
    void read_netns(toml_reader &reader);
    void read_vfio_intr(toml_reader &reader);
    void read_control(toml_reader &reader);
    void read_trace(toml_reader &reader);
    void read_log(const toml::table &table);
    void read_autoscale(const toml::table &table);
    void read_xdp(const toml::table &table);
    void read_xdp_program(const std::string &name, const toml::table &table);
    void read_ports(const toml::node &node);
    void read_port(const toml::table &table);
    bool read_device(toml_reader &reader, port_config &port);
    void read_port_names(toml_reader &reader, port_config &port, bool good_device);
    void read_shadow(toml_reader &reader, port_config &port);
    void read_port_xdp(toml_reader &reader, port_config &port);
    void read_irq_priority(toml_reader &reader, port_config &port);
    bool take_irq_priority(toml_reader &reader, const toml::node &node, port_config &port);
    void read_port_napi(toml_reader &reader, port_config &port);
    void read_punt(const toml::table &table);
    void choose_mbufs();
    void check_buffers(const toml::node &ports);
    bool once(std::map<std::string, unsigned> &seen, const toml::node &where, const std::string &key,
              const std::string &value);
};

void parser::parse(const toml::table &root)
{
    toml_reader reader(root, "the file", problems);
    out.cpus = {on.cpus.back()};
    if (const toml::table *runtime = reader.table("runtime")) {
        read_runtime(*runtime);
    }
    if (out.slow_path_cpu < 0) {
        const auto other =
            std::ranges::find_if(on.cpus, [this](unsigned c) { return !std::ranges::count(out.cpus, c); });
        out.slow_path_cpu = other == on.cpus.end() ? -1 : static_cast<int>(*other);
    }
    if (const toml::table *programs = reader.table("xdp")) {
        read_xdp(*programs);
    }
    if (const toml::node *ports = reader.get("port")) {
        read_ports(*ports);
    } else {
        problems.add(1, "no port, expected at least one [[port]]");
    }
    read_xdp_maps(reader, problems, out);
    if (!out.ports.empty()) {
        check_buffers(root["port"].as_array()->front());
    }
    if (const toml::table *punt = reader.table("punt")) {
        read_punt(*punt);
    }
    if (const toml::table *log = reader.table("log")) {
        read_log(*log);
    }
    if (const toml::table *autoscale = reader.table("autoscale")) {
        read_autoscale(*autoscale);
    }
    reader.refuse_unknown();
}

void parser::read_runtime(const toml::table &table)
{
    toml_reader reader(table, "[runtime]", problems);
    std::vector<unsigned> cpus;
    if (const toml::node *node = reader.integers("cpus", cpus, 0, CPU_SETSIZE - 1)) {
        out.cpus = cpus;
        for (std::size_t i = 0; i < cpus.size(); ++i) {
            if (!std::ranges::count(on.cpus, cpus[i])) {
                reader.problem((*node->as_array())[i], "cpus", "CPU " + std::to_string(cpus[i]),
                               "CPUs that this process may run on (lscpu, taskset -p)");
            }
        }
    }
    reader.integer("fifo_priority", out.fifo_priority, FIFO_PRIORITY);
    reader.integer("netdev_budget", out.netdev_budget, NETDEV_BUDGET);
    reader.integer("netdev_budget_usecs", out.netdev_budget_usecs, NETDEV_BUDGET_USECS);
    reader.integer("netdev_max_backlog", out.netdev_max_backlog, NETDEV_MAX_BACKLOG_RANGE);
    reader.integer("skb_defer_max", out.skb_defer_max, SKB_DEFER_MAX_RANGE);
    read_steering(reader);
    read_flow_hash_key(reader);
    reader.boolean("interrupts", out.interrupts);
    read_exclusion(reader);
    read_slow_path_cpu(reader);
    read_netns(reader);
    read_vfio_intr(reader);
    read_control(reader);
    reader.boolean("hugepages", out.hugepages);
    memory_mb = reader.integer("memory_mb", out.memory_mb, 64, 1'048'576);
    mbufs = reader.integer("mbufs", out.mbufs, MBUFS);
    reader.boolean("remove_shadows", out.remove_shadows);
    read_trace(reader);
    reader.refuse_unknown();
}

/// Reads one of several words; `value` becomes the word's index in `words`.
template <typename T>
const toml::node *read_word(toml_reader &reader, const char *key, T &value, const std::vector<std::string_view> &words,
                            const std::string &expected)
{
    std::string text;
    const toml::node *node = reader.string(key, text);
    if (!node) {
        return nullptr;
    }
    const auto found = std::ranges::find(words, text);
    if (found == words.end()) {
        reader.problem(*node, key, describe(*node), expected);
        return nullptr;
    }
    value = static_cast<T>(found - words.begin());
    return node;
}

/// Requirement of a setting that makes more than one bottom-half thread on a CPU, for messages.
constexpr const char *NEEDS_LOCKS =
    "exclusion = \"big\" or \"nested\" in [runtime] with it, for it makes several bottom-half threads on a CPU";

void parser::read_exclusion(toml_reader &reader)
{
    read_word(reader, "exclusion", out.exclusion, exclusion_names(), "\"exclusive\", \"big\" or \"nested\"");
    for (const auto &[key, value] : {std::pair{"ksoftirqd", &out.ksoftirqd}, std::pair{"irq_workd", &out.irq_workd},
                                     std::pair{"thread_backlog_napi", &out.thread_backlog_napi}}) {
        const toml::node *node = reader.boolean(key, *value);
        if (node && *value && out.exclusion == exclusion_mode::exclusive) {
            reader.problem(*node, key, describe(*node), NEEDS_LOCKS);
        }
    }
    const toml::node *priority = reader.integer("napi_fifo_priority", out.napi_fifo_priority, FIFO_PRIORITY);
    if (priority && out.napi_fifo_priority != 0 && out.exclusion == exclusion_mode::exclusive) {
        reader.problem(*priority, "napi_fifo_priority", describe(*priority), NEEDS_LOCKS);
    }
}

void parser::read_steering(toml_reader &reader)
{
    reader.integer("rps_sock_flow_entries", out.rps_sock_flow_entries, RPS_SOCK_FLOW_ENTRIES);
    read_cpu_list(reader, "rps_default_mask", out.rps_default_mask);
    read_cpu_list(reader, "flow_limit_cpu_bitmap", out.flow_limit.flow_limit_cpu_bitmap);
    unsigned &len = out.flow_limit.flow_limit_table_len;
    const toml::node *node = reader.integer("flow_limit_table_len", len, FLOW_LIMIT_TABLE_LEN);
    if (node && !std::has_single_bit(len)) {
        reader.problem(*node, "flow_limit_table_len", describe(*node), "a power of two");
    }
}

/// Parses bytes as `ethtool -x` prints them: two hexadecimal digits each, separated by colons. Returns an empty vector
/// for any other text.
std::vector<std::uint8_t> hex_bytes(const std::string &text)
{
    std::vector<std::uint8_t> bytes;
    for (std::size_t at = 0; at <= text.size(); at += 3) {
        const std::string digits = text.substr(at, 2);
        const bool hex = digits.size() == 2 && std::ranges::all_of(digits, [](unsigned char c) { return isxdigit(c); });
        if (!hex || (at + 2 < text.size() && text[at + 2] != ':')) {
            return {};
        }
        bytes.push_back(static_cast<std::uint8_t>(std::stoul(digits, nullptr, 16)));
    }
    return bytes;
}

/// Messages never repeat the key: more people may read them than the file.
void parser::read_flow_hash_key(toml_reader &reader)
{
    std::string text;
    const toml::node *node = reader.string("flow_hash_key", text);
    if (!node) {
        return;
    }
    out.flow_hash_key = hex_bytes(text);
    const std::size_t n = out.flow_hash_key.size();
    const bool random = std::ranges::any_of(out.flow_hash_key, [](std::uint8_t byte) { return byte != 0; });
    if ((n != 40 && n != 52) || !random) {
        reader.problem(*node, "flow_hash_key", "a text of " + std::to_string(text.size()) + " characters",
                       "40 or 52 bytes that are not all 0, written as by ethtool -x: \"6d:5a:...\"");
    }
}

/// Reads numbers of runtime CPUs, given as an array of integers or as a text.
void parser::read_cpu_list(toml_reader &reader, const char *key, std::vector<unsigned> &list)
{
    const toml::node *node = reader.get(key);
    if (!node) {
        return;
    }
    std::string text;
    if (const toml::array *array = node->as_array()) {
        for (const toml::node &element : *array) {
            text += (text.empty() ? "" : ",") + (element.is_integer() ? std::to_string(**element.as_integer()) : "?");
        }
    } else {
        text = node->value_or(std::string("?"));
    }
    const auto cpus = static_cast<unsigned>(out.cpus.size());
    if (const auto found = parse_cpu_list(text, cpus)) {
        list = *found;
    } else {
        reader.problem(*node, key, describe(*node), cpu_list_expected(cpus));
    }
}

void parser::read_slow_path_cpu(toml_reader &reader)
{
    const toml::node *node = reader.integer("slow_path_cpu", out.slow_path_cpu, 0, CPU_SETSIZE - 1);
    if (node && !std::ranges::count(on.cpus, static_cast<unsigned>(out.slow_path_cpu))) {
        reader.problem(*node, "slow_path_cpu", "CPU " + std::to_string(out.slow_path_cpu),
                       "a CPU that this process may run on (lscpu, taskset -p)");
    }
}

void parser::read_netns(toml_reader &reader)
{
    const toml::node *node = reader.string("netns", out.netns);
    if (node && netns_path(out.netns, on.netns_dir).empty()) {
        reader.problem(*node, "netns", describe(*node),
                       "a network namespace that exists (ip netns add " + out.netns + ") or the path of one");
    }
}

void parser::read_vfio_intr(toml_reader &reader)
{
    const toml::node *node = reader.string("vfio_intr", out.vfio_intr);
    if (node && out.vfio_intr != "msix" && out.vfio_intr != "msi" && out.vfio_intr != "legacy") {
        reader.problem(*node, "vfio_intr", describe(*node), "\"msix\", \"msi\" or \"legacy\"");
    }
}

void parser::read_control(toml_reader &reader)
{
    const toml::node *node = reader.string("control", out.control);
    if (node && (out.control[0] != '/' || out.control.size() >= sizeof(sockaddr_un::sun_path))) {
        reader.problem(*node, "control", describe(*node),
                       "an absolute path of at most " + std::to_string(sizeof(sockaddr_un::sun_path) - 1) + " bytes");
    }
}

void parser::read_trace(toml_reader &reader)
{
    if (const toml::node *node = reader.string("trace", out.trace)) {
        regex_t compiled;
        if (regcomp(&compiled, out.trace.c_str(), REG_NOSUB) != 0) { // as DPDK does, which reports no error
            reader.problem(*node, "trace", describe(*node), "a basic regular expression (regex(7)), as \"xdp_.*\"");
        } else {
            regfree(&compiled);
        }
    }
    const toml::node *node = reader.string("trace_dir", out.trace_dir);
    if (std::error_code ignored;
        node && (out.trace_dir[0] != '/' || !std::filesystem::is_directory(out.trace_dir, ignored))) {
        reader.problem(*node, "trace_dir", describe(*node), "the absolute path of a folder that exists");
    }
}

void parser::read_xdp(const toml::table &table)
{
    for (const auto &[key, node] : table) {
        const std::string name(key.str());
        if (const toml::table *program = node.as_table()) {
            read_xdp_program(name, *program);
        } else {
            problems.add(node, "xdp." + name + ": found " + describe(node) + ", expected a table, written [xdp." +
                                   name + "]");
        }
    }
}

void parser::read_xdp_program(const std::string &name, const toml::table &table)
{
    toml_reader reader(table, "[xdp." + name + "]", problems);
    xdp_config program;
    program.name = name;
    if (name.find('/') != std::string::npos) {
        problems.add(table, "xdp: found \"" + name + "\", expected a name without '/'");
    }
    if (const toml::node *node = reader.required_string("file", program.file)) {
        std::filesystem::path path(program.file);
        if (path.is_relative()) { // relative to the configuration file
            path = std::filesystem::absolute(out.file).parent_path() / path;
        }
        program.file = path.lexically_normal();
        if (std::error_code ignored; !std::filesystem::is_regular_file(path, ignored)) {
            reader.problem(*node, "file", describe(*node), "a shared object that exists");
        }
    }
    reader.string("config", program.config);
    reader.refuse_unknown();
    out.xdp.push_back(std::move(program));
}

void parser::read_port_xdp(toml_reader &reader, port_config &port)
{
    std::string name;
    const toml::node *node = reader.string("xdp", name);
    if (!node) {
        return;
    }
    const auto found = std::ranges::find(out.xdp, name, &xdp_config::name);
    if (found == out.xdp.end()) {
        reader.problem(*node, "xdp", describe(*node), "the NAME of an [xdp.NAME]");
    } else {
        port.xdp = *found;
    }
}

void parser::read_ports(const toml::node &node)
{
    const toml::array *array = node.as_array();
    if (!array || !array->is_homogeneous(toml::node_type::table)) {
        problems.add(node, "port: found " + describe(node) + ", expected tables, each written [[port]]");
        return;
    }
    for (const toml::node &element : *array) {
        read_port(*element.as_table());
    }
}

void parser::read_port(const toml::table &table)
{
    toml_reader reader(table, "[[port]]", problems);
    port_config port;
    read_port_names(reader, port, read_device(reader, port));
    reader.integer("rx_queues", port.options.rx_queues, 1, 64);
    reader.integers("cpus", port.options.cpus, 0, static_cast<std::int64_t>(out.cpus.size()) - 1);
    const toml::node *ring = reader.integer("descriptors", port.options.descriptors, 64, 32768);
    if (ring && (port.options.descriptors & (port.options.descriptors - 1)) != 0) {
        reader.problem(*ring, "descriptors", describe(*ring), "a power of two");
    }
    reader.integer("mtu", port.options.mtu, 68, 9600);
    reader.boolean("promiscuous", port.options.promiscuous);
    read_irq_priority(reader, port);
    read_port_napi(reader, port);
    reader.boolean("ntuple", port.options.ntuple);
    read_port_xdp(reader, port);
    port.options.rps.rps_cpus = out.rps_default_mask;
    read_cpu_list(reader, "rps_cpus", port.options.rps.rps_cpus);
    reader.integer("rps_flow_cnt", port.options.rps.rps_flow_cnt, RPS_FLOW_CNT);
    reader.refuse_unknown();
    port.options.force_spin = !out.interrupts;
    out.ports.push_back(std::move(port));
}

/// Returns true if the device is valid and no earlier port uses it.
bool parser::read_device(toml_reader &reader, port_config &port)
{
    static const std::regex vdev("net_[a-zA-Z0-9_]+(,.*)?");
    const toml::node *node = reader.required_string("device", port.device);
    if (!node) {
        return false;
    }
    if (port.device.starts_with("af_xdp:")) {
        port.kind = device_kind::af_xdp;
        if (!valid_ifname(port.ifname())) {
            reader.problem(*node, "device", describe(*node), std::string("an interface name of ") + IFNAME_EXPECTED);
            return false;
        }
    } else if (const std::string address = full_pci_address(port.device); !address.empty()) {
        port.kind = device_kind::pci;
        port.device = address;
    } else if (std::regex_match(port.device, vdev)) {
        port.kind = device_kind::vdev;
    } else {
        reader.problem(*node, "device", describe(*node),
                       "\"af_xdp:IFNAME\", a PCI address (\"0000:01:00.0\") or a DPDK virtual device (\"net_...\")");
        return false;
    }
    return once(devices, *node, "device", device_identity(port));
}

void parser::read_port_names(toml_reader &reader, port_config &port, bool good_device)
{
    if (const toml::node *node = reader.string("name", port.options.name)) {
        if (!valid_ifname(port.options.name)) {
            reader.problem(*node, "name", describe(*node), IFNAME_EXPECTED);
        } else {
            once(names, *node, "name", port.options.name);
        }
    } else if (good_device) {
        const toml::node &device = *reader.get("device");
        port.options.name = device_name(port);
        if (port.options.name.size() >= IFNAMSIZ) {
            reader.problem(device, "device", describe(device),
                           "name = \"...\" beside it, because its own is longer than 15 bytes");
        } else {
            once(names, device, "name", port.options.name);
        }
    }
    read_shadow(reader, port);
}

void parser::read_shadow(toml_reader &reader, port_config &port)
{
    const toml::node *node = reader.required_string("shadow", port.shadow);
    if (!node) {
        return;
    }
    if (!valid_ifname(port.shadow)) {
        reader.problem(*node, "shadow", describe(*node), IFNAME_EXPECTED);
        return;
    }
    once(shadows, *node, "shadow", port.shadow);
    if (out.netns.empty() && port.kind == device_kind::af_xdp && port.shadow == port.ifname()) {
        reader.problem(*node, "shadow", describe(*node),
                       "another name than the port's own interface, which is in the same namespace");
    }
}

void parser::read_port_napi(toml_reader &reader, port_config &port)
{
    napi_config &napi = port.options.napi;
    reader.integer("napi_defer_hard_irqs", napi.napi_defer_hard_irqs, NAPI_DEFER_HARD_IRQS);
    reader.integer("gro_flush_timeout", napi.gro_flush_timeout, NAPI_TIMEOUT_NS);
    reader.integer("irq_suspend_timeout", napi.irq_suspend_timeout, NAPI_TIMEOUT_NS);
    const toml::node *threaded =
        read_word(reader, "threaded", napi.threaded, threaded_names(), "\"disabled\", \"enabled\" or \"busy-poll\"");
    if (threaded && napi.threaded != napi_threaded::disabled && out.exclusion == exclusion_mode::exclusive) {
        reader.problem(*threaded, "threaded", describe(*threaded), NEEDS_LOCKS);
    } else if (threaded && napi.threaded != napi_threaded::disabled && !port.irq_priority.empty()) {
        reader.problem(*threaded, "threaded", describe(*threaded),
                       "\"disabled\" beside irq_priority, whose thread polls the queue");
    }
    const toml::node *busy_poll = reader.get("busy_poll");
    if (!busy_poll) {
        return;
    }
    const std::int64_t usecs = busy_poll->value_or(std::int64_t{-1});
    if (busy_poll->is_integer() && usecs >= BUSY_POLL_USECS.min && usecs <= BUSY_POLL_USECS.max) {
        napi.busy_poll = static_cast<int>(usecs);
    } else if (busy_poll->value_or(std::string()) != "adaptive") {
        reader.problem(*busy_poll, "busy_poll", describe(*busy_poll),
                       "\"adaptive\" or an integer from 0 to 1000000 (microseconds)");
    }
}

/// Reads one priority for all rx queues, or an array with one for each.
bool parser::take_irq_priority(toml_reader &reader, const toml::node &node, port_config &port)
{
    const auto is_priority = [](const toml::node &n) {
        const std::int64_t value = n.value_or(std::int64_t{0});
        return n.is_integer() && value >= 1 && value <= FIFO_PRIORITY.max;
    };
    const toml::array *array = node.as_array();
    const std::size_t queues = port.options.rx_queues;
    if (!array && is_priority(node)) {
        port.irq_priority.assign(queues, node.value_or(0U));
        return true;
    }
    if (!array || array->size() != queues || !std::ranges::all_of(*array, is_priority)) {
        reader.problem(node, "irq_priority", describe(node),
                       "an integer from 1 to 99, or an array of " + std::to_string(queues) +
                           " of them, one for each rx queue");
        return false;
    }
    for (const toml::node &element : *array) {
        port.irq_priority.push_back(element.value_or(0U));
    }
    return true;
}

void parser::read_irq_priority(toml_reader &reader, port_config &port)
{
    const toml::node *node = reader.get("irq_priority");
    if (!node || !take_irq_priority(reader, *node, port)) {
        return;
    }
    port.options.napi.busy_poll = 0; // unless the file sets it: no thread of lower priority runs during busy polling
    const auto without = [&](const char *expected) {
        reader.problem(*node, "irq_priority", describe(*node), expected);
    };
    if (out.exclusion != exclusion_mode::nested) {
        without("exclusion = \"nested\" in [runtime] with it, for each queue gets a thread that preempts the others "
                "of its CPU");
    } else if (!out.interrupts) {
        without("interrupts = true in [runtime] with it, for a thread of that priority that only spins keeps the "
                "others of its CPU from running");
    }
}

void parser::read_punt(const toml::table &table)
{
    toml_reader classes(table, "[punt]", problems);
    for (unsigned c = 0; c < PUNT_CLASSES; ++c) {
        const std::string name = to_string(static_cast<punt_class>(c));
        const toml::table *limits = classes.table(to_string(static_cast<punt_class>(c)));
        if (limits) {
            toml_reader reader(*limits, "[punt." + name + "]", problems);
            reader.integer("rate", out.punt[c].packets_per_second, PUNT_RATE);
            reader.integer("burst", out.punt[c].burst, PUNT_BURST);
            reader.refuse_unknown();
        }
    }
    classes.refuse_unknown();
}

void parser::read_log(const toml::table &table)
{
    toml_reader reader(table, "[log]", problems);
    std::string level;
    if (const toml::node *node = reader.string("level", level)) {
        const auto known = std::ranges::find(log_level_names(), level);
        if (known == log_level_names().end()) {
            reader.problem(*node, "level", describe(*node), "\"debug\", \"info\", \"warning\" or \"error\"");
        } else {
            out.log.level = static_cast<log_level>(known - log_level_names().begin());
        }
    }
    const toml::node *target = reader.string("target", out.log.target);
    const std::vector<std::string_view> words = {"auto", "stderr", "journal"};
    if (target && !out.log.target.starts_with('/') && !std::ranges::count(words, out.log.target)) {
        reader.problem(*target, "target", describe(*target),
                       "\"auto\", \"stderr\", \"journal\" or the absolute path of a file");
    }
    reader.refuse_unknown();
}

void parser::read_autoscale(const toml::table &table)
{
    toml_reader reader(table, "[autoscale]", problems);
    ktime_t target = 0, settle = out.autoscale.settle / NSEC_PER_MSEC;
    reader.integer("target_us", target, AUTOSCALE_TARGET_US);
    reader.integer("min_cpus", out.autoscale.min_cpus, 1, static_cast<std::int64_t>(out.cpus.size()));
    reader.integer("low_percent", out.autoscale.low_percent, AUTOSCALE_LOW_PERCENT);
    reader.integer("settle_ms", settle, AUTOSCALE_SETTLE_MS);
    out.autoscale.target = target * NSEC_PER_USEC;
    out.autoscale.settle = settle * NSEC_PER_MSEC;
    reader.refuse_unknown();
}

/// Chooses `mbufs` if the file does not set it: as many buffers as can be in use at once, within memory_mb.
void parser::choose_mbufs()
{
    const std::uint64_t memory = std::uint64_t{out.memory_mb - 32} << 20;
    const std::uint64_t wanted = std::min(buffers_at_most(out), memory / BUFFER_BYTES);
    out.mbufs = static_cast<unsigned>(
        std::max({std::uint64_t{out.mbufs}, std::min<std::uint64_t>(wanted, MBUFS.max), buffers_at_rest(out)}));
    out.mbufs_chosen = true;
}

/// The pool must be able to fill all rings and the caches in front of them, and must fit into memory_mb.
void parser::check_buffers(const toml::node &ports)
{
    if (!mbufs) {
        choose_mbufs();
    }
    const std::uint64_t needed = buffers_at_rest(out);
    if (needed > out.mbufs) {
        problems.add(*mbufs, "mbufs: found " + std::to_string(out.mbufs) + ", expected at least " +
                                 std::to_string(needed) + " for the rings of these ports");
    }
    const std::uint64_t megabytes = buffer_megabytes(out.mbufs);
    if (megabytes > out.memory_mb) {
        problems.add(memory_mb ? *memory_mb
                     : mbufs   ? *mbufs
                               : ports,
                     "memory_mb: found " + std::to_string(out.memory_mb) + ", expected at least " +
                         std::to_string(megabytes) + " for " + std::to_string(out.mbufs) + " mbufs");
    }
}

bool parser::once(std::map<std::string, unsigned> &seen, const toml::node &where, const std::string &key,
                  const std::string &value)
{
    const auto [first, added] = seen.emplace(value, where.source().begin.line);
    if (!added) {
        problems.add(where, key + ": found \"" + value + "\" again, expected another than on line " +
                                std::to_string(first->second));
    }
    return added;
}

} // namespace

const std::vector<std::string_view> &exclusion_names()
{
    static const std::vector<std::string_view> names = {"exclusive", "big", "nested"};
    return names;
}

const std::vector<std::string_view> &threaded_names()
{
    static const std::vector<std::string_view> names = {"disabled", "enabled", "busy-poll"};
    return names;
}

std::string device_identity(const port_config &port)
{
    return port.kind == device_kind::vdev ? port.device.substr(0, port.device.find(',')) : port.device;
}

machine machine::detect()
{
    machine found;
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) != 0) {
        throw_errno(errno, "cannot read the CPU affinity of the process");
    }
    for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
        if (CPU_ISSET(cpu, &set)) {
            found.cpus.push_back(cpu);
        }
    }
    return found;
}

std::string netns_path(const std::string &netns, const std::string &netns_dir)
{
    const std::string path = netns.find('/') == std::string::npos ? netns_dir + "/" + netns : netns;
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    const bool is_netns = fd >= 0 && ioctl(fd, NS_GET_NSTYPE) == CLONE_NEWNET;
    if (fd >= 0) {
        ::close(fd);
    }
    return is_netns ? path : std::string();
}

config parse_config(std::string_view text, const std::string &file, const machine &on)
{
    problem_list problems(file);
    parser p{problems, on};
    p.out.file = file;
    try {
        p.parse(toml::parse(text, file));
    } catch (const toml::parse_error &e) {
        problems.add(e.source().begin.line, "not TOML: " + std::string(e.description()));
    }
    if (!problems.empty()) {
        throw error(problems.to_string());
    }
    return std::move(p.out);
}

config load_config(const std::string &file, const machine &on)
{
    if (std::error_code ignored; std::filesystem::is_directory(file, ignored)) {
        throw_errno(EISDIR, "cannot read the configuration " + file); // a stream's error would not name the file
    }
    std::ifstream in(file);
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    if (!in || in.bad()) {
        throw_errno(errno, "cannot read the configuration " + file);
    }
    return parse_config(text, file, on);
}

} // namespace halfpoll
