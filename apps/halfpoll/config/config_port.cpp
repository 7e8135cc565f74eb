// SPDX-License-Identifier: BSD-3-Clause
#include "apps/halfpoll/nic/pci_device.hpp"
#include "config_tables.hpp"
#include "cpu_list.hpp"

#include <algorithm>
#include <map>
#include <net/if.h>
#include <regex>

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

class port_parser
{
public:
    port_parser(problem_list &problems, config &out) : problems_(problems), out_(out) {}
    void read(const toml::table &table);

private:
    bool read_device(toml_reader &reader, port_config &port);
    void read_names(toml_reader &reader, port_config &port, bool good_device);
    void read_shadow(toml_reader &reader, port_config &port);
    void read_irq_priority(toml_reader &reader, port_config &port);
    bool take_irq_priority(toml_reader &reader, const toml::node &node, port_config &port);
    void read_napi(toml_reader &reader, port_config &port);
    void read_xdp(toml_reader &reader, port_config &port);
    bool once(std::map<std::string, unsigned> &seen, const toml::node &where, const std::string &key,
              const std::string &value);

    problem_list &problems_;
    config &out_;
    std::map<std::string, unsigned> names_, shadows_, devices_; ///< line of the first use of each
};

void port_parser::read(const toml::table &table)
{
    toml_reader reader(table, "[[port]]", problems_);
    port_config port;
    read_names(reader, port, read_device(reader, port));
    reader.integer("rx_queues", port.options.rx_queues, 1, 64);
    reader.integers("cpus", port.options.cpus, 0, static_cast<std::int64_t>(out_.cpus.size()) - 1);
    const toml::node *ring = reader.integer("descriptors", port.options.descriptors, 64, 32768);
    if (ring && (port.options.descriptors & (port.options.descriptors - 1)) != 0) {
        reader.problem(*ring, "descriptors", describe(*ring), "a power of two");
    }
    reader.integer("mtu", port.options.mtu, 68, 9600);
    reader.boolean("promiscuous", port.options.promiscuous);
    read_irq_priority(reader, port);
    read_napi(reader, port);
    reader.boolean("ntuple", port.options.ntuple);
    read_xdp(reader, port);
    port.options.rps.rps_cpus = out_.rps_default_mask;
    read_cpu_list(reader, "rps_cpus", static_cast<unsigned>(out_.cpus.size()), port.options.rps.rps_cpus);
    reader.integer("rps_flow_cnt", port.options.rps.rps_flow_cnt, RPS_FLOW_CNT);
    reader.refuse_unknown();
    port.options.force_spin = !out_.interrupts;
    out_.ports.push_back(std::move(port));
}

/// Returns true if the device is valid and no earlier port uses it.
bool port_parser::read_device(toml_reader &reader, port_config &port)
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
    return once(devices_, *node, "device", device_identity(port));
}

bool port_parser::once(std::map<std::string, unsigned> &seen, const toml::node &where, const std::string &key,
                       const std::string &value)
{
    const auto [first, added] = seen.emplace(value, where.source().begin.line);
    if (!added) {
        problems_.add(where, key + ": found \"" + value + "\" again, expected another than on line " +
                                 std::to_string(first->second));
    }
    return added;
}

void port_parser::read_names(toml_reader &reader, port_config &port, bool good_device)
{
    if (const toml::node *node = reader.string("name", port.options.name)) {
        if (!valid_ifname(port.options.name)) {
            reader.problem(*node, "name", describe(*node), IFNAME_EXPECTED);
        } else {
            once(names_, *node, "name", port.options.name);
        }
    } else if (good_device) {
        const toml::node &device = *reader.get("device");
        port.options.name = device_name(port);
        if (port.options.name.size() >= IFNAMSIZ) {
            reader.problem(device, "device", describe(device),
                           "name = \"...\" beside it, because its own is longer than 15 bytes");
        } else {
            once(names_, device, "name", port.options.name);
        }
    }
    read_shadow(reader, port);
}

void port_parser::read_shadow(toml_reader &reader, port_config &port)
{
    const toml::node *node = reader.required_string("shadow", port.shadow);
    if (!node) {
        return;
    }
    if (!valid_ifname(port.shadow)) {
        reader.problem(*node, "shadow", describe(*node), IFNAME_EXPECTED);
        return;
    }
    once(shadows_, *node, "shadow", port.shadow);
    if (out_.netns.empty() && port.kind == device_kind::af_xdp && port.shadow == port.ifname()) {
        reader.problem(*node, "shadow", describe(*node),
                       "another name than the port's own interface, which is in the same namespace");
    }
}

void port_parser::read_irq_priority(toml_reader &reader, port_config &port)
{
    const toml::node *node = reader.get("irq_priority");
    if (!node || !take_irq_priority(reader, *node, port)) {
        return;
    }
    port.options.napi.busy_poll = 0; // unless the file sets it: no thread of lower priority runs during busy polling
    const auto without = [&](const char *expected) {
        reader.problem(*node, "irq_priority", describe(*node), expected);
    };
    if (out_.exclusion != exclusion_mode::nested) {
        without("exclusion = \"nested\" in [runtime] with it, for each queue gets a thread that preempts the others "
                "of its CPU");
    } else if (!out_.interrupts) {
        without("interrupts = true in [runtime] with it, for a thread of that priority that only spins keeps the "
                "others of its CPU from running");
    }
}

/// Reads one priority for all rx queues, or an array with one for each.
bool port_parser::take_irq_priority(toml_reader &reader, const toml::node &node, port_config &port)
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

void port_parser::read_napi(toml_reader &reader, port_config &port)
{
    napi_config &napi = port.options.napi;
    reader.integer("napi_defer_hard_irqs", napi.napi_defer_hard_irqs, NAPI_DEFER_HARD_IRQS);
    reader.integer("gro_flush_timeout", napi.gro_flush_timeout, NAPI_TIMEOUT_NS);
    reader.integer("irq_suspend_timeout", napi.irq_suspend_timeout, NAPI_TIMEOUT_NS);
    const toml::node *threaded =
        reader.word("threaded", napi.threaded, threaded_names(), "\"disabled\", \"enabled\" or \"busy-poll\"");
    if (threaded && napi.threaded != napi_threaded::disabled && out_.exclusion == exclusion_mode::exclusive) {
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

void port_parser::read_xdp(toml_reader &reader, port_config &port)
{
    std::string name;
    const toml::node *node = reader.string("xdp", name);
    if (!node) {
        return;
    }
    const auto found = std::ranges::find(out_.xdp, name, &xdp_config::name);
    if (found == out_.xdp.end()) {
        reader.problem(*node, "xdp", describe(*node), "the NAME of an [xdp.NAME]");
    } else {
        port.xdp = *found;
    }
}

} // namespace

void read_ports(toml_reader &root, problem_list &problems, config &out)
{
    const toml::node *node = root.get("port");
    if (!node) {
        problems.add(1, "no port, expected at least one [[port]]");
        return;
    }
    const toml::array *array = node->as_array();
    if (!array || !array->is_homogeneous(toml::node_type::table)) {
        problems.add(*node, "port: found " + describe(*node) + ", expected tables, each written [[port]]");
        return;
    }
    port_parser ports(problems, out);
    for (const toml::node &element : *array) {
        ports.read(*element.as_table());
    }
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

} // namespace halfpoll
