// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "probe.hpp"

namespace halfpoll
{

/// One examination of a machine: its inputs and its findings.
struct probing {
    const config &cfg;
    const host &on;
    probe_scope scope;
    std::vector<finding> found;

    bool wants(severity level) const noexcept { return level <= scope.mildest; }
    void add(severity level, const std::string &id, const std::string &port, std::string problem, std::string remedy)
    {
        if (wants(level)) {
            found.push_back({id, level, port, std::move(problem), std::move(remedy)});
        }
    }
    bool has(device_kind kind) const;
};

/// Returns the command that grants the program all capabilities that the configuration needs.
std::string grant_capabilities(const probing &p);
/// Returns the keys of the configuration that need SCHED_FIFO, "fifo_priority, irq_priority"; empty if none is set.
std::string fifo_keys(const config &cfg);
/// Returns the memory of all packet buffers in bytes.
std::uint64_t packet_memory(const config &cfg);
/// Parses a list of CPUs in the kernel's form, "0-2,5".
std::vector<unsigned> parse_cpu_list(const std::string &text);
/// True if the kernel is older than major.minor.
bool kernel_before(const host &on, unsigned major, unsigned minor);

// Each source file has its part: the whole program, its memory, its CPUs, limits and folders, and for each kind of port
// the support that the machine needs and the check of one port.
void probe_program(probing &p);
void probe_memory(probing &p);
void probe_cpus(probing &p);
void probe_limits(probing &p);
void probe_af_xdp_support(probing &p);
void probe_af_xdp_port(probing &p, const port_config &port);
void probe_vfio_support(probing &p);
void probe_pci_port(probing &p, const port_config &port);

} // namespace halfpoll
