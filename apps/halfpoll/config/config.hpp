// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "apps/halfpoll/log/log.hpp"
#include "config_xdp_map.hpp"
#include "forward/policy/policy.hpp"

#include <halfpoll/autoscale_policy.hpp>
#include <halfpoll/error.hpp>
#include <halfpoll/net_core.hpp>
#include <halfpoll/net_device.hpp>
#include <halfpoll/slow_path.hpp>

#include <climits>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace halfpoll
{

enum class device_kind { af_xdp, pci, vdev };

/// The range of a setting, for the file and for `halfpoll set`.
struct setting_range {
    std::int64_t min, max;
};
inline constexpr setting_range NETDEV_BUDGET{1, 1'000'000};
inline constexpr setting_range NETDEV_BUDGET_USECS{1, 1'000'000};
inline constexpr setting_range NETDEV_MAX_BACKLOG_RANGE{1, BACKLOG_MAX};
inline constexpr setting_range SKB_DEFER_MAX_RANGE{0, SKB_DEFER_ROOM};
inline constexpr setting_range NAPI_DEFER_HARD_IRQS{0, INT_MAX};
inline constexpr setting_range NAPI_TIMEOUT_NS{0, 10 * NSEC_PER_SEC};
inline constexpr setting_range BUSY_POLL_USECS{0, 1'000'000};
inline constexpr setting_range RPS_FLOW_CNT{0, RPS_FLOW_CNT_MAX};
inline constexpr setting_range RPS_SOCK_FLOW_ENTRIES{0, RPS_SOCK_FLOW_ENTRIES_MAX};
inline constexpr setting_range FLOW_LIMIT_TABLE_LEN{1, FLOW_LIMIT_TABLE_LEN_MAX};
inline constexpr setting_range AUTOSCALE_TARGET_US{0, 1'000'000};
inline constexpr setting_range AUTOSCALE_LOW_PERCENT{1, 100};
inline constexpr setting_range AUTOSCALE_SETTLE_MS{1, 3'600'000};
inline constexpr setting_range FIFO_PRIORITY{0, 99};
inline constexpr setting_range PUNT_RATE{0, PUNT_RATE_MAX};
inline constexpr setting_range PUNT_BURST{1, PUNT_BURST_MAX};
inline constexpr setting_range MBUFS{2048, 16'777'216};

/// An XDP program: an [xdp.NAME], or a program that was attached by its path.
struct xdp_config {
    std::string name;   ///< empty: no program; the path if the configuration has no NAME for it
    std::string file;   ///< absolute path of the shared object
    std::string config; ///< text for the program
    bool operator==(const xdp_config &) const = default;
};

struct port_config {
    std::string device; ///< as the file gives it; a PCI address in full
    device_kind kind = device_kind::af_xdp;
    std::string shadow; ///< TAP interface in the kernel
    net_device_options options;
    /// SCHED_FIFO priority of each rx queue's own thread, see irq_threads(). Empty: the queues have no such threads.
    std::vector<unsigned> irq_priority;
    xdp_config xdp; ///< attached to all rx queues
    /// The kernel interface of an af_xdp device.
    std::string ifname() const { return device.substr(device.find(':') + 1); }
};

/// The directory is made if it is missing.
inline constexpr const char *DEFAULT_CONTROL = "/run/halfpoll/halfpoll.sock";

/// The content of a configuration file. docs/configuration.md lists the keys.
struct config {
    std::string file;
    std::vector<unsigned> cpus; ///< logical CPUs
    int fifo_priority = 0;
    unsigned netdev_budget = 300;
    unsigned netdev_budget_usecs = 2000;
    unsigned netdev_max_backlog = NETDEV_MAX_BACKLOG;
    unsigned skb_defer_max = 0;
    unsigned rps_sock_flow_entries = 0;
    std::vector<unsigned> rps_default_mask; ///< rps_cpus of ports that do not set it
    flow_limit_config flow_limit;
    std::vector<std::uint8_t> flow_hash_key; ///< 40 or 52 bytes; empty: random
    bool interrupts = true;
    exclusion_mode exclusion = exclusion_mode::exclusive;
    bool ksoftirqd = false;
    bool irq_workd = false;
    bool thread_backlog_napi = false;
    int napi_fifo_priority = 0;
    unsigned slow_path_threads = 1;
    std::vector<unsigned> slow_path_cpu; ///< of the threads in turn; empty: the scheduler chooses
    bool slow_path_vhost = false;
    std::string netns;
    std::string vfio_intr; ///< "msix", "msi", "legacy"; empty: the best mode of each device
    std::string control = DEFAULT_CONTROL;
    bool hugepages = false;
    unsigned memory_mb = 256;
    unsigned mbufs = 16384;    ///< at least this many if the file does not set it
    bool mbufs_chosen = false; ///< the file does not set `mbufs`
    bool remove_shadows = true;
    std::string trace;     ///< regular expression that enables tracepoints; empty: none
    std::string trace_dir; ///< empty: DPDK's default
    log_config log;
    autoscale_limits autoscale;
    std::vector<xdp_config> xdp;
    std::vector<xdp_map_config> xdp_maps;
    std::vector<port_config> ports;
    punt_limits punt;
    policy_set obey = policy_obey_all;
    bool kernel_pass = true; ///< what the kernel forwards need not leave it
};

/// The words of settings with a fixed set of values: "exclusive", "big", "nested"; "disabled", "enabled", "busy-poll".
const std::vector<std::string_view> &exclusion_names();
const std::vector<std::string_view> &threaded_names();

/// The machine that a configuration is checked against. Tests make up their own.
struct machine {
    std::vector<unsigned> cpus; ///< CPUs that this process may use, ascending
    std::string netns_dir = "/run/netns";
    static machine detect();
};

/// Data room of one packet buffer in bytes, headroom included.
inline constexpr unsigned BUFFER_DATA_ROOM = 2048 + 128;
/// Size of one packet buffer in bytes: data room, the headers of mbuf and pool, and alignment.
inline constexpr std::uint64_t BUFFER_BYTES = BUFFER_DATA_ROOM + 256;

/// Throws `error` with one line for each mistake: "file:line: key: found …, expected …".
config parse_config(std::string_view text, const std::string &file, const machine &on);
config load_config(const std::string &file, const machine &on = machine::detect());

/// The part of `device` that two ports cannot have in common.
std::string device_identity(const port_config &port);

/// The file of a namespace that is given by name or path; empty if there is no such namespace.
std::string netns_path(const std::string &netns, const std::string &netns_dir = "/run/netns");

} // namespace halfpoll
