// SPDX-License-Identifier: BSD-3-Clause
#include "probe_parts.hpp"

#include <algorithm>
#include <utility>

namespace halfpoll
{

std::vector<finding> probe_machine(const config &cfg, const host &on, const probe_scope &scope)
{
    probing p{cfg, on, scope, {}};
    probe_program(p);
    probe_memory(p);
    probe_cpus(p);
    probe_limits(p);
    if (p.has(device_kind::af_xdp)) {
        probe_af_xdp_support(p);
    }
    if (p.has(device_kind::pci)) {
        probe_vfio_support(p);
    }
    for (const port_config &port : cfg.ports) {
        if (port.kind == device_kind::af_xdp) {
            probe_af_xdp_port(p, port);
        } else if (port.kind == device_kind::pci) {
            probe_pci_port(p, port);
        }
    }
    return std::move(p.found);
}

std::vector<finding> probe_machine(const host &on)
{
    const config nothing;
    probing everything{nothing, on, {}, {}};
    probe_program(everything);
    const auto would = [&](device_kind kind, const std::string &ports, void (*support)(probing &)) {
        config one;
        one.ports.resize(1);
        one.ports[0].kind = kind;
        probing p{one, on, {}, {}};
        probe_program(p);
        support(p);
        for (finding &each : p.found) {
            const bool known = std::ranges::find(everything.found, each.id, &finding::id) != everything.found.end();
            if (!known) {
                each.level = severity::less;
                each.problem = "no " + ports + " ports: " + each.problem;
                everything.found.push_back(std::move(each));
            }
        }
    };
    would(device_kind::af_xdp, "AF_XDP", probe_af_xdp_support);
    would(device_kind::pci, "PCI", probe_vfio_support);
    return std::move(everything.found);
}

} // namespace halfpoll
