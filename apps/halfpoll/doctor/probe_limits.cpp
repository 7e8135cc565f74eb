// SPDX-License-Identifier: BSD-3-Clause
//
// Resource limits of the process, and the folders that it writes to.
#include "apps/halfpoll/config/irq_threads.hpp"
#include "probe_parts.hpp"

#include <cerrno>
#include <cstring>
#include <filesystem>

namespace halfpoll
{

namespace
{

constexpr std::uint64_t MIB = 1 << 20;

std::uint64_t threads(const config &cfg) { return cfg.cpus.size() + irq_threads(cfg).size(); }

/// File descriptors: EAL, control thread, slow path and 16 clients of the control socket; a ring and a doorbell for
/// each CPU, and an epoll set and a doorbell for each further thread of the slow path; for each port the queues of its
/// shadow, each with vhost-net and three eventfds if that is wanted, netlink sockets, BPF maps, programs and links, and
/// one or two descriptors for each of its queues.
std::uint64_t wanted_files(const probing &p)
{
    const unsigned more_slow_paths = p.cfg.slow_path_threads - 1;
    const unsigned vhost = p.cfg.slow_path_vhost ? 4 * p.cfg.slow_path_threads : 0;
    std::uint64_t files = 40 + 4 * threads(p.cfg) + 2 * more_slow_paths;
    for (const port_config &port : p.cfg.ports) {
        const unsigned queues = port.kind == device_kind::af_xdp ? p.on.link_rx_queues(port.ifname()) : 0;
        files += 16 + more_slow_paths + vhost + 2 * std::max(queues, port.options.rx_queues);
    }
    return files;
}

void probe_files(probing &p)
{
    const std::uint64_t limit = p.on.file_limit();
    const std::uint64_t wanted = wanted_files(p);
    if (limit < wanted) {
        p.add(severity::stops, "open_files", "",
              "the limit of open files is " + std::to_string(limit) + ", and up to " + std::to_string(wanted) +
                  " are needed",
              "ulimit -n " + std::to_string(2 * wanted) + " (systemd: LimitNOFILE=" + std::to_string(2 * wanted) + ")");
    }
}

/// Address space for packet memory, for tables that are reserved in full and filled as needed, for the stacks of
/// threads, and for the buffers of vhost-net. With hugepages the EAL reserves addresses for all the memory that it
/// could ever use.
std::uint64_t wanted_addresses(const config &cfg)
{
    constexpr std::uint64_t tables = 1280 * MIB, stack = 8 * MIB, eal = 65536 * MIB, vhost_queue = 21 * MIB;
    const std::uint64_t vhost = cfg.slow_path_vhost ? cfg.ports.size() * cfg.slow_path_threads * vhost_queue : 0;
    return cfg.memory_mb * MIB + packet_memory(cfg) + tables + (threads(cfg) + 3 + cfg.slow_path_threads) * stack +
           (cfg.hugepages ? eal : 0) + vhost;
}

void probe_addresses(probing &p)
{
    const std::uint64_t limit = p.on.address_limit();
    const std::uint64_t wanted = wanted_addresses(p.cfg);
    if (limit < wanted) {
        p.add(severity::stops, "address_space", "",
              "the limit of the address space is " + std::to_string(limit / MIB) + " MiB, and " +
                  std::to_string(wanted / MIB) + " MiB are reserved (most of it is never used)",
              "ulimit -v unlimited (systemd: LimitAS=infinity)");
    }
}

/// Checks that a file can be made or written. `key` names the setting that chooses `path`. If `path` does not exist,
/// halfpoll makes it, so its parent folder is checked.
void probe_path(probing &p, const std::string &id, const std::string &key, std::filesystem::path path,
                const std::string &what)
{
    int err = p.on.write_access(path);
    if (err == ENOENT) {
        path = path.parent_path();
        err = p.on.write_access(path);
    }
    if (err != 0) {
        p.add(severity::stops, id, "", "cannot make " + what + " in " + path.string() + " (" + std::strerror(err) + ")",
              err == EROFS ? "mount it read-write (a container: --tmpfs " + path.string() +
                                 "; systemd: ReadWritePaths=), or choose another path with " + key
                           : "choose another path with " + key + ", or give this user the right to write there");
    }
}

} // namespace

void probe_limits(probing &p)
{
    probe_files(p);
    probe_addresses(p);
    probe_path(p, "control_folder", "control = \"...\" in [runtime]",
               std::filesystem::absolute(p.cfg.control).parent_path(), "the control socket");
    if (p.cfg.log.target.starts_with('/')) {
        probe_path(p, "log_file", "target = \"...\" in [log]", p.cfg.log.target, "the log file");
    }
    if (!p.cfg.trace.empty() && !p.cfg.trace_dir.empty()) {
        probe_path(p, "trace_dir", "trace_dir = \"...\" in [runtime]", p.cfg.trace_dir, "traces");
    }
}

} // namespace halfpoll
