// SPDX-License-Identifier: BSD-3-Clause
#include "config_tables.hpp"
#include "cpu_list.hpp"

#include <algorithm>
#include <bit>
#include <fcntl.h>
#include <filesystem>
#include <iterator>
#include <linux/nsfs.h>
#include <regex.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/un.h>
#include <unistd.h>

namespace halfpoll
{

namespace
{

class runtime_parser
{
public:
    runtime_parser(const toml::table &table, problem_list &problems, const machine &on, config &out)
        : reader_(table, "[runtime]", problems), on_(on), out_(out)
    {
    }
    pool_keys read();

private:
    void read_cpus();
    void read_steering();
    void read_flow_hash_key();
    void read_exclusion();
    void read_slow_path();
    void read_slow_path_cpu();
    void read_netns();
    void read_vfio_intr();
    void read_control();
    void read_trace();

    toml_reader reader_;
    const machine &on_;
    config &out_;
};

pool_keys runtime_parser::read()
{
    pool_keys pool;
    read_cpus();
    reader_.integer("fifo_priority", out_.fifo_priority, FIFO_PRIORITY);
    reader_.integer("netdev_budget", out_.netdev_budget, NETDEV_BUDGET);
    reader_.integer("netdev_budget_usecs", out_.netdev_budget_usecs, NETDEV_BUDGET_USECS);
    reader_.integer("netdev_max_backlog", out_.netdev_max_backlog, NETDEV_MAX_BACKLOG_RANGE);
    reader_.integer("skb_defer_max", out_.skb_defer_max, SKB_DEFER_MAX_RANGE);
    read_steering();
    read_flow_hash_key();
    reader_.boolean("interrupts", out_.interrupts);
    read_exclusion();
    read_slow_path();
    read_netns();
    read_vfio_intr();
    read_control();
    reader_.boolean("hugepages", out_.hugepages);
    pool.memory_mb = reader_.integer("memory_mb", out_.memory_mb, 64, 1'048'576);
    pool.mbufs = reader_.integer("mbufs", out_.mbufs, MBUFS);
    reader_.boolean("remove_shadows", out_.remove_shadows);
    read_trace();
    reader_.refuse_unknown();
    return pool;
}

void runtime_parser::read_cpus()
{
    std::vector<unsigned> cpus;
    const toml::node *node = reader_.integers("cpus", cpus, 0, CPU_SETSIZE - 1);
    if (!node) {
        return;
    }
    out_.cpus = cpus;
    for (std::size_t i = 0; i < cpus.size(); ++i) {
        if (!std::ranges::count(on_.cpus, cpus[i])) {
            reader_.problem((*node->as_array())[i], "cpus", "CPU " + std::to_string(cpus[i]),
                            "CPUs that this process may run on (lscpu, taskset -p)");
        }
    }
}

void runtime_parser::read_steering()
{
    reader_.integer("rps_sock_flow_entries", out_.rps_sock_flow_entries, RPS_SOCK_FLOW_ENTRIES);
    read_cpu_list(reader_, "rps_default_mask", static_cast<unsigned>(out_.cpus.size()), out_.rps_default_mask);
    read_cpu_list(reader_, "flow_limit_cpu_bitmap", static_cast<unsigned>(out_.cpus.size()),
                  out_.flow_limit.flow_limit_cpu_bitmap);
    unsigned &len = out_.flow_limit.flow_limit_table_len;
    const toml::node *node = reader_.integer("flow_limit_table_len", len, FLOW_LIMIT_TABLE_LEN);
    if (node && !std::has_single_bit(len)) {
        reader_.problem(*node, "flow_limit_table_len", describe(*node), "a power of two");
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
void runtime_parser::read_flow_hash_key()
{
    std::string text;
    const toml::node *node = reader_.string("flow_hash_key", text);
    if (!node) {
        return;
    }
    out_.flow_hash_key = hex_bytes(text);
    const std::size_t n = out_.flow_hash_key.size();
    const bool random = std::ranges::any_of(out_.flow_hash_key, [](std::uint8_t byte) { return byte != 0; });
    if ((n != 40 && n != 52) || !random) {
        reader_.problem(*node, "flow_hash_key", "a text of " + std::to_string(text.size()) + " characters",
                        "40 or 52 bytes that are not all 0, written as by ethtool -x: \"6d:5a:...\"");
    }
}

void runtime_parser::read_exclusion()
{
    reader_.word("exclusion", out_.exclusion, exclusion_names(), "\"exclusive\", \"big\" or \"nested\"");
    for (const auto &[key, value] : {std::pair{"ksoftirqd", &out_.ksoftirqd}, std::pair{"irq_workd", &out_.irq_workd},
                                     std::pair{"thread_backlog_napi", &out_.thread_backlog_napi}}) {
        const toml::node *node = reader_.boolean(key, *value);
        if (node && *value && out_.exclusion == exclusion_mode::exclusive) {
            reader_.problem(*node, key, describe(*node), NEEDS_LOCKS);
        }
    }
    const toml::node *priority = reader_.integer("napi_fifo_priority", out_.napi_fifo_priority, FIFO_PRIORITY);
    if (priority && out_.napi_fifo_priority != 0 && out_.exclusion == exclusion_mode::exclusive) {
        reader_.problem(*priority, "napi_fifo_priority", describe(*priority), NEEDS_LOCKS);
    }
}

void runtime_parser::read_slow_path()
{
    reader_.integer("slow_path_threads", out_.slow_path_threads, 1, SLOW_PATH_THREADS_MAX);
    read_slow_path_cpu();
    reader_.boolean("slow_path_vhost", out_.slow_path_vhost);
}

void runtime_parser::read_slow_path_cpu()
{
    std::vector<unsigned> cpus;
    const toml::node *node = reader_.integer_or_integers("slow_path_cpu", cpus, 0, CPU_SETSIZE - 1);
    if (!node) {
        return;
    }
    out_.slow_path_cpu = cpus;
    for (std::size_t i = 0; i < cpus.size(); ++i) {
        if (!std::ranges::count(on_.cpus, cpus[i])) {
            reader_.problem(node->is_array() ? (*node->as_array())[i] : *node, "slow_path_cpu",
                            "CPU " + std::to_string(cpus[i]), "a CPU that this process may run on (lscpu, taskset -p)");
        }
    }
    if (cpus.size() > out_.slow_path_threads) {
        reader_.problem(*node, "slow_path_cpu", std::to_string(cpus.size()) + " CPUs",
                        "not more than slow_path_threads, " + std::to_string(out_.slow_path_threads));
    }
}

void runtime_parser::read_netns()
{
    const toml::node *node = reader_.string("netns", out_.netns);
    if (node && netns_path(out_.netns, on_.netns_dir).empty()) {
        reader_.problem(*node, "netns", describe(*node),
                        "a network namespace that exists (ip netns add " + out_.netns + ") or the path of one");
    }
}

void runtime_parser::read_vfio_intr()
{
    const toml::node *node = reader_.string("vfio_intr", out_.vfio_intr);
    if (node && out_.vfio_intr != "msix" && out_.vfio_intr != "msi" && out_.vfio_intr != "legacy") {
        reader_.problem(*node, "vfio_intr", describe(*node), "\"msix\", \"msi\" or \"legacy\"");
    }
}

void runtime_parser::read_control()
{
    const toml::node *node = reader_.string("control", out_.control);
    if (node && (out_.control[0] != '/' || out_.control.size() >= sizeof(sockaddr_un::sun_path))) {
        reader_.problem(*node, "control", describe(*node),
                        "an absolute path of at most " + std::to_string(sizeof(sockaddr_un::sun_path) - 1) + " bytes");
    }
}

void runtime_parser::read_trace()
{
    if (const toml::node *node = reader_.string("trace", out_.trace)) {
        regex_t compiled;
        if (regcomp(&compiled, out_.trace.c_str(), REG_NOSUB) != 0) { // as DPDK does, which reports no error
            reader_.problem(*node, "trace", describe(*node), "a basic regular expression (regex(7)), as \"xdp_.*\"");
        } else {
            regfree(&compiled);
        }
    }
    const toml::node *node = reader_.string("trace_dir", out_.trace_dir);
    if (std::error_code ignored;
        node && (out_.trace_dir[0] != '/' || !std::filesystem::is_directory(out_.trace_dir, ignored))) {
        reader_.problem(*node, "trace_dir", describe(*node), "the absolute path of a folder that exists");
    }
}

/// The first CPUs that are no runtime CPUs, at most one for each slow-path thread; empty: there are none.
std::vector<unsigned> other_cpus(const machine &on, const config &out)
{
    std::vector<unsigned> others;
    std::ranges::copy_if(on.cpus, std::back_inserter(others),
                         [&](unsigned cpu) { return !std::ranges::count(out.cpus, cpu); });
    others.resize(std::min<std::size_t>(others.size(), out.slow_path_threads));
    return others;
}

} // namespace

pool_keys read_runtime(toml_reader &root, problem_list &problems, const machine &on, config &out)
{
    pool_keys pool;
    out.cpus = {on.cpus.back()};
    if (const toml::table *table = root.table("runtime")) {
        pool = runtime_parser(*table, problems, on, out).read();
    }
    if (out.slow_path_cpu.empty()) {
        out.slow_path_cpu = other_cpus(on, out);
    }
    return pool;
}

const std::vector<std::string_view> &exclusion_names()
{
    static const std::vector<std::string_view> names = {"exclusive", "big", "nested"};
    return names;
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

} // namespace halfpoll
