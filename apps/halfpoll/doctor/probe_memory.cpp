// SPDX-License-Identifier: BSD-3-Clause
#include "apps/halfpoll/config/buffer_need.hpp"
#include "apps/halfpoll/nic/pci_device.hpp"
#include "probe_parts.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <linux/capability.h>
#include <sstream>

namespace halfpoll
{

namespace
{

constexpr std::uint64_t MIB = 1 << 20;

std::string mib(std::uint64_t bytes) { return std::to_string(bytes / MIB) + " MiB"; }

/// Returns a value of /proc/meminfo (kB, or pages); 0 if it is missing.
std::uint64_t meminfo(const host &on, const std::string &key)
{
    std::istringstream in(on.read("/proc/meminfo"));
    for (std::string word; in >> word;) {
        if (std::uint64_t value = 0; word == key + ":" && in >> value) {
            return value;
        }
    }
    return 0;
}

/// Returns the bytes of free hugepages of all sizes in a folder that contains hugepages-…kB.
std::uint64_t free_hugepages(const host &on, const std::string &folder)
{
    std::uint64_t bytes = 0;
    for (const std::string &name : on.list(folder)) {
        unsigned long kb = 0;
        if (std::sscanf(name.c_str(), "hugepages-%lukB", &kb) == 1) {
            bytes += std::strtoull(on.read(folder + "/" + name + "/free_hugepages").c_str(), nullptr, 10) * kb * 1024;
        }
    }
    return bytes;
}

void probe_hugepages(probing &p)
{
    const std::uint64_t wanted = p.cfg.memory_mb * MIB;
    const std::uint64_t free = free_hugepages(p.on, "/sys/kernel/mm/hugepages");
    const std::uint64_t page = std::max<std::uint64_t>(1, meminfo(p.on, "Hugepagesize")) * 1024;
    if (free >= wanted || p.scope.running) {
        return;
    }
    const std::uint64_t pages = meminfo(p.on, "HugePages_Total") + (wanted - free + page - 1) / page;
    p.add(severity::less, "hugepages", "",
          mib(free) + " of hugepages are free, memory_mb is " + std::to_string(p.cfg.memory_mb) +
              ", so halfpoll runs without them",
          page == 1024 ? "boot a kernel built with CONFIG_HUGETLBFS"
                       : "sysctl -w vm.nr_hugepages=" + std::to_string(pages) + " (if too few can be had: hugepages=" +
                             std::to_string(pages) + " on the kernel's command line)");
}

/// Finds ports whose device is on a NUMA node without free hugepages.
void probe_hugepage_nodes(probing &p)
{
    for (const port_config &port : p.cfg.ports) {
        const int node = port.kind == device_kind::pci ? pci_device(p.on, port.device).numa_node() : -1;
        const std::string folder = "/sys/devices/system/node/node" + std::to_string(node);
        if (node < 0 || p.scope.running || !p.on.exists("/sys/devices/system/node/node1") ||
            free_hugepages(p.on, folder + "/hugepages") > 0) {
            continue;
        }
        const std::uint64_t kb = meminfo(p.on, "Hugepagesize");
        const std::uint64_t pages = p.cfg.memory_mb * 1024 / std::max<std::uint64_t>(1, kb);
        p.add(severity::less, "hugepages_node", port.options.name,
              "no hugepages are free on NUMA node " + std::to_string(node) +
                  ", where the device is, so each packet crosses to another node",
              "echo " + std::to_string(pages) + " > " + folder + "/hugepages/hugepages-" + std::to_string(kb) +
                  "kB/nr_hugepages");
    }
}

void probe_ordinary_memory(probing &p)
{
    const std::uint64_t available = meminfo(p.on, "MemAvailable") * 1024;
    if (!p.scope.running && available < p.cfg.memory_mb * MIB) {
        p.add(severity::less, "memory", "",
              mib(available) + " of memory are available, memory_mb is " + std::to_string(p.cfg.memory_mb) +
                  ", so the system may swap or kill",
              "lower mbufs and memory_mb in [runtime], or end other programs");
    }
    if (p.on.read("/sys/kernel/mm/transparent_hugepage/enabled").ends_with("[never]")) {
        p.add(severity::advice, "transparent_hugepages", "",
              "transparent hugepages are off, so that packet buffers take thousands of TLB entries",
              "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled");
    }
}

/// An AF_XDP socket locks all packet buffers, and each queue of the interface has a socket; vfio locks the memory that
/// it maps once.
std::uint64_t locked_memory(const probing &p)
{
    std::uint64_t bytes = 0;
    for (const port_config &port : p.cfg.ports) {
        if (port.kind == device_kind::af_xdp) {
            bytes += packet_memory(p.cfg) * std::max(1U, p.on.link_rx_queues(port.ifname()));
        }
    }
    return p.has(device_kind::pci) ? std::max(bytes, p.cfg.memory_mb * MIB) : bytes;
}

void probe_memlock(probing &p)
{
    const std::uint64_t limit = p.on.memlock_limit();
    const std::uint64_t wanted = locked_memory(p);
    if (limit < wanted && !p.on.capable(CAP_IPC_LOCK)) {
        p.add(severity::stops, "memlock", "",
              "the locked-memory limit is " + std::to_string(limit >> 10) + " KiB, and the packet buffers need " +
                  mib(wanted),
              "ulimit -l unlimited (systemd: LimitMEMLOCK=infinity), or " + grant_capabilities(p));
    }
}

} // namespace

std::uint64_t packet_memory(const config &cfg)
{
    constexpr std::uint64_t huge_page = 2 * MIB; // the size of the pool is a multiple of this
    return (cfg.mbufs * BUFFER_BYTES + huge_page - 1) / huge_page * huge_page;
}

void probe_memory(probing &p)
{
    if (p.cfg.hugepages) {
        probe_hugepages(p);
        probe_hugepage_nodes(p);
    } else {
        probe_ordinary_memory(p);
    }
    probe_memlock(p);
    if (const buffer_shortage shortage = find_shortage(p.cfg); !shortage.problem.empty()) {
        p.add(severity::less, "mbufs", "", shortage.problem, shortage.remedy);
    }
}

} // namespace halfpoll
