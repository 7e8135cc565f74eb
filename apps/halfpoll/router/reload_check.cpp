// SPDX-License-Identifier: BSD-3-Clause
#include "reload_check.hpp"
#include "apps/halfpoll/host/host.hpp"

#include <halfpoll/af_xdp.hpp>

#include <algorithm>

namespace halfpoll
{

namespace
{

/// Returns the port that has the device open; null if no port has.
net_device *holder_of(router &r, const port_config &wanted)
{
    for (const port_config &port : r.cfg().ports) {
        net_device *const dev = r.core().dev_get_by_name(port.options.name);
        if (device_identity(port) == device_identity(wanted) && dev && dev->open) {
            return dev;
        }
    }
    return nullptr;
}

/// Only one process at a time can use an interface by AF_XDP. Throws `error` if an XDP program is attached to it.
void refuse_busy_link(const std::string &ifname)
{
    const std::vector<link_facts> links = host().links();
    const auto link = std::ranges::find(links, ifname, &link_facts::name);
    if (link != links.end() && !link->xdp.empty()) {
        throw error("af_xdp:" + ifname + " is in use: the XDP program " + link->xdp + " is on it (`ip link set dev " +
                    ifname + " xdp off`, or stop its owner)");
    }
}

/// Checks an AF_XDP device. Other devices cannot be checked: a vdev is made when it is opened, and PCI devices were
/// bound at the start.
void check_device(router &r, const port_config &port)
{
    const net_device_options options = r.options_of(port);
    if (const net_device *holder = holder_of(r, port)) {
        r.core().check_options(*holder->driver, options);
    } else if (port.kind == device_kind::af_xdp) {
        const auto driver = make_af_xdp_port(port.ifname(), nullptr);
        r.core().check_options(*driver, options);
        refuse_busy_link(port.ifname());
    }
}

void check_shadow(router &r, const port_config &port)
{
    const std::vector<shadow *> ours = r.slow().shadows();
    if (std::ranges::none_of(ours,
                             [&](const shadow *s) { return s->identity == port.shadow || s->name == port.shadow; })) {
        r.slow().check_shadow(port.shadow);
    }
}

/// True if the port had this device before and is waiting for it to return.
bool is_awaited(router &r, const port_config &port)
{
    const port_config *same = find_port(r.cfg(), port.options.name);
    return same && device_identity(*same) == device_identity(port) &&
           !r.core().dev_get_by_name(port.options.name)->open;
}

} // namespace

std::vector<std::string> obstacles(router &r, const config &wanted, const config_diff &diff)
{
    std::vector<std::string> found;
    for (const auto *names : {&diff.added, &diff.replaced}) {
        for (const std::string &name : *names) {
            const port_config &port = *find_port(wanted, name);
            try {
                if (!is_awaited(r, port)) {
                    check_device(r, port);
                }
                check_shadow(r, port);
            } catch (const std::exception &e) {
                found.push_back("port " + name + ": " + e.what());
            }
        }
    }
    return found;
}

std::vector<config_change> lost_entries(router &r, const config_diff &diff)
{
    std::vector<config_change> lost;
    for (const auto &map : xdp_maps(r.core())) {
        for (const xdp_map_entry &entry : map->entries()) {
            const net_device *dev = r.core().dev_get(entry.ifindex);
            if (dev && std::ranges::count(diff.removed, dev->name) != 0) {
                lost.push_back({config_change::sort::removed,
                                "[xdp_map." + map->name + "] key " + std::to_string(entry.key), "", "port " + dev->name,
                                ""});
            }
        }
    }
    return lost;
}

} // namespace halfpoll
