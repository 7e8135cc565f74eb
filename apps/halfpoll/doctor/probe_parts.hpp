// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "probe.hpp"

namespace halfpoll
{

/// One look at a machine: what it is looked at for, and what was found.
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

/// The command that gives the program every capability that the configuration needs.
std::string grant_capabilities(const probing &p);
/// The keys of the configuration that ask for SCHED_FIFO, "fifo_priority, irq_priority"; empty if none does.
std::string fifo_keys(const config &cfg);
/// Memory of all packet buffers, in bytes.
std::uint64_t packet_memory(const config &cfg);
/// "0-2,5" as the kernel writes it.
std::vector<unsigned> parse_cpu_list(const std::string &text);
/// True if the kernel is older.
bool kernel_before(const host &on, unsigned major, unsigned minor);

// One for each file: the whole program, its memory, its CPUs, limits and folders, what all ports of a kind need, one
// port.
void probe_program(probing &p);
void probe_memory(probing &p);
void probe_cpus(probing &p);
void probe_limits(probing &p);
void probe_af_xdp_support(probing &p);
void probe_af_xdp_port(probing &p, const port_config &port);
void probe_vfio_support(probing &p);
void probe_pci_port(probing &p, const port_config &port);

} // namespace halfpoll
