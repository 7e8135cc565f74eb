// SPDX-License-Identifier: BSD-3-Clause
#include "apps/halfpoll/config/irq_threads.hpp"
#include "apps/halfpoll/nic/pci_device.hpp"
#include "probe_parts.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <linux/capability.h>
#include <sstream>
#include <utility>

namespace halfpoll
{

namespace
{

std::string cpu_text(const std::vector<unsigned> &cpus)
{
    std::string text;
    for (unsigned cpu : cpus) {
        text += (text.empty() ? "" : ",") + std::to_string(cpu);
    }
    return text;
}

int highest_priority(const config &cfg)
{
    int highest = std::max(cfg.fifo_priority, cfg.napi_fifo_priority);
    for (const irq_thread &thread : irq_threads(cfg)) {
        highest = std::max(highest, thread.fifo_priority);
    }
    return highest;
}

void probe_fifo(probing &p)
{
    const std::string keys = fifo_keys(p.cfg);
    const int err = keys.empty() ? 0 : p.on.fifo_error(highest_priority(p.cfg));
    if (err == 0) {
        return;
    }
    const std::string remedy = p.on.capable(CAP_SYS_NICE)
                                   ? "give the control group time for it: echo 950000 > "
                                     "/sys/fs/cgroup/cpu/GROUP/cpu.rt_runtime_us (GROUP: see "
                                     "/proc/self/cgroup), or leave out " +
                                         keys
                                   : grant_capabilities(p) + " (systemd: LimitRTPRIO=99), or leave out " + keys;
    p.add(severity::less, "sched_fifo", "",
          std::string("no SCHED_FIFO (") + std::strerror(err) + "), which " + keys + " would need", remedy);
}

/// Since Linux 6.12 the fair server takes time from FIFO threads, 5 % by default.
void probe_fair_server(probing &p)
{
    const std::string first = p.cfg.fifo_priority > 0 ? ""
                                                      : "fifo_priority = 1 in [runtime], so that the ordinary thread "
                                                        "does not starve there, and ";
    for (unsigned cpu : p.cfg.cpus) {
        const std::string file = "/sys/kernel/debug/sched/fair_server/cpu" + std::to_string(cpu) + "/runtime";
        if (p.on.read(file) != "0") {
            p.add(severity::advice, "rt_throttling", "",
                  "at full load other programs interrupt the SCHED_FIFO thread of CPU " + std::to_string(cpu) +
                      " for up to 50 ms a second",
                  first + "echo 0 > " + file + " (only if nothing else has to run on that CPU: it would starve)");
        }
    }
}

void probe_rt_throttling(probing &p)
{
    if (fifo_keys(p.cfg).empty()) {
        return;
    }
    if (!kernel_before(p.on, 6, 12)) {
        probe_fair_server(p);
        return;
    }
    const std::string runtime = p.on.read("/proc/sys/kernel/sched_rt_runtime_us");
    if (!runtime.empty() && runtime != "-1" && runtime != p.on.read("/proc/sys/kernel/sched_rt_period_us")) {
        p.add(
            severity::advice, "rt_throttling", "",
            "at full load SCHED_FIFO threads are stopped for what " + runtime + " us leave of each second",
            "sysctl -w kernel.sched_rt_runtime_us=-1 (only if nothing else has to run on those CPUs: it would starve)");
    }
}

void probe_isolation(probing &p)
{
    std::vector<unsigned> isolated = parse_cpu_list(p.on.read("/sys/devices/system/cpu/isolated"));
    std::ranges::copy(parse_cpu_list(p.on.read("/sys/fs/cgroup/cpuset.cpus.isolated")), std::back_inserter(isolated));
    std::vector<unsigned> shared;
    std::ranges::copy_if(p.cfg.cpus, std::back_inserter(shared),
                         [&](unsigned cpu) { return !std::ranges::count(isolated, cpu); });
    if (!shared.empty()) {
        const std::string cpus = cpu_text(shared);
        p.add(severity::advice, "cpu_isolation", "",
              (shared.size() == 1 ? "CPU " + cpus + " is" : "CPUs " + cpus + " are") +
                  " not isolated, so other programs and timers delay packets there",
              "isolcpus=" + cpus + " nohz_full=" + cpus + " rcu_nocbs=" + cpus +
                  " on the kernel's command line (Debian: GRUB_CMDLINE_LINUX in /etc/default/grub, then update-grub), "
                  "and boot");
    }
}

/// Finds ports whose device is on another NUMA node than the CPUs that poll it.
void probe_cpu_nodes(probing &p)
{
    for (const port_config &port : p.cfg.ports) {
        const std::string address = port.kind == device_kind::pci      ? port.device
                                    : port.kind == device_kind::af_xdp ? pci_address_of_interface(p.on, port.ifname())
                                                                       : "";
        const int node = address.empty() ? -1 : pci_device(p.on, address).numa_node();
        const std::string list = p.on.read("/sys/devices/system/node/node" + std::to_string(node) + "/cpulist");
        if (node < 0 || list.empty()) {
            continue;
        }
        const std::vector<unsigned> near = parse_cpu_list(list);
        std::vector<unsigned> far;
        for (std::size_t i = 0; i < p.cfg.cpus.size(); ++i) {
            const std::vector<unsigned> &places = port.options.cpus;
            const bool polls = places.empty() || std::ranges::count(places, static_cast<unsigned>(i));
            if (polls && !std::ranges::count(near, p.cfg.cpus[i])) {
                far.push_back(p.cfg.cpus[i]);
            }
        }
        if (!far.empty()) {
            p.add(severity::advice, "cpu_node", port.options.name,
                  "CPU " + cpu_text(far) + " polls it from another NUMA node than node " + std::to_string(node) +
                      ", where the device is",
                  "choose cpus in [runtime] among " + list);
        }
    }
}

} // namespace

std::string fifo_keys(const config &cfg)
{
    std::string keys;
    for (const auto &[key, wanted] : {std::pair{"fifo_priority", cfg.fifo_priority > 0},
                                      std::pair{"napi_fifo_priority", cfg.napi_fifo_priority > 0},
                                      std::pair{"irq_priority", !irq_threads(cfg).empty()}}) {
        keys += wanted ? (keys.empty() ? "" : ", ") + std::string(key) : "";
    }
    return keys;
}

std::vector<unsigned> parse_cpu_list(const std::string &text)
{
    std::vector<unsigned> cpus;
    std::istringstream ranges(text);
    for (std::string range; std::getline(ranges, range, ',');) {
        unsigned first = 0, last = 0;
        const int parts = std::sscanf(range.c_str(), "%u-%u", &first, &last);
        for (unsigned cpu = first; parts >= 1 && cpu <= (parts == 2 ? last : first); ++cpu) {
            cpus.push_back(cpu);
        }
    }
    return cpus;
}

void probe_cpus(probing &p)
{
    probe_fifo(p);
    probe_rt_throttling(p);
    probe_isolation(p);
    probe_cpu_nodes(p);
}

} // namespace halfpoll
