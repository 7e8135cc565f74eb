// SPDX-License-Identifier: BSD-3-Clause
#include "apps/halfpoll/nic/link_use.hpp"
#include "probe_parts.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <linux/capability.h>
#include <sys/socket.h>

namespace halfpoll
{

namespace
{

/// The name of netio's XDP program. If it is attached, a halfpoll already runs on the interface.
constexpr const char *OWN_PROGRAM = "halfpoll_xsk";

void probe_queues(probing &p, const port_config &port)
{
    const std::string ifname = port.ifname();
    const std::string wanted = std::to_string(port.options.rx_queues);
    const unsigned queues = p.on.link_rx_queues(ifname);
    if (queues > 0 && queues < port.options.rx_queues) {
        p.add(severity::stops, "rx_queues", port.options.name,
              ifname + " has " + std::to_string(queues) + " receive queues, rx_queues is " + wanted,
              "ethtool -L " + ifname + " combined " + wanted + ", or lower rx_queues");
    }
}

void probe_xdp(probing &p, const port_config &port, const link_facts &link)
{
    if (!link.xdp.empty() && link.xdp != OWN_PROGRAM) {
        p.add(severity::stops, "xdp_program", port.options.name,
              "another XDP program (" + link.xdp + ") is on " + link.name,
              "ip link set dev " + link.name + " xdp off, or stop its owner");
    }
    const std::optional<std::uint64_t> features = p.on.link_xdp_features(link.index);
    if (!features) {
        return;
    }
    constexpr std::uint64_t native = XDP_FEATURE_BASIC | XDP_FEATURE_REDIRECT;
    if ((*features & native) != native) {
        p.add(severity::less, "xdp_native", port.options.name,
              "the driver of " + link.name + " has no XDP, so the slower generic path is used",
              "use an interface whose driver has it, or a PCI port (halfpoll bind " + link.name + ")");
    } else if (!(*features & XDP_FEATURE_ZEROCOPY) && link.kind.empty()) {
        p.add(severity::advice, "xdp_zerocopy", port.options.name,
              "the driver of " + link.name + " has no zero-copy, so each packet is copied",
              "use a PCI port (halfpoll bind " + link.name + ")");
    }
}

} // namespace

void probe_af_xdp_support(probing &p)
{
    if (kernel_before(p.on, 5, 10)) {
        p.add(severity::stops, "kernel", "",
              "Linux " + p.on.read("/proc/sys/kernel/osrelease") + " is too old for AF_XDP",
              "boot Linux 5.10 or newer");
    }
    const int socket = p.on.capable(CAP_NET_RAW) ? p.on.socket_error(AF_XDP, SOCK_RAW, 0) : 0;
    if (socket != 0) {
        p.add(
            severity::stops, "af_xdp", "", std::string("no AF_XDP sockets (") + std::strerror(socket) + ")",
            "boot a kernel built with CONFIG_XDP_SOCKETS, or allow them (systemd: RestrictAddressFamilies=AF_XDP; in a "
            "container: --security-opt seccomp=unconfined)");
    }
    const bool admin = p.on.capable(CAP_SYS_ADMIN);
    const bool may_load = admin || (p.on.capable(CAP_BPF) && p.on.capable(CAP_NET_ADMIN));
    const int map = may_load && socket == 0 ? p.on.xsk_map_error() : 0;
    if (map != 0) {
        p.add(severity::stops, "bpf", "",
              std::string("no BPF map for AF_XDP sockets (") + std::strerror(map) + "), needed by the XDP program",
              "boot a kernel built with CONFIG_BPF_SYSCALL and CONFIG_XDP_SOCKETS, or allow the bpf system call (in a "
              "container: --security-opt seccomp=unconfined)");
    }
    if (!admin && !p.on.capable(CAP_PERFMON) && !kernel_before(p.on, 6, 8)) {
        p.add(severity::less, "cap_perfmon", "",
              "no CAP_PERFMON, so the XDP program may not fetch the VLAN tags that a driver keeps beside the frame",
              grant_capabilities(p) + ", or run it as root (in a container: --cap-add PERFMON)");
    }
}

void probe_af_xdp_port(probing &p, const port_config &port)
{
    const std::string ifname = port.ifname();
    const std::vector<link_facts> links = p.on.links();
    const auto link = std::ranges::find(links, ifname, &link_facts::name);
    if (links.empty()) {
        return; // no netlink socket, which is a finding of its own: otherwise the list has at least the loopback
    }
    if (link == links.end()) {
        p.add(severity::stops, "interface", port.options.name, "no interface " + ifname + " in this network namespace",
              "correct device (see `ip link`), or move it here: ip -n ITS_NAMESPACE link set " + ifname +
                  " netns /proc/self/ns/net");
        return;
    }
    probe_queues(p, port);
    probe_xdp(p, port, *link);
    if (!p.wants(severity::less)) {
        return; // reading the tables of routes and sockets may take long
    }
    for (const std::string &use : uses_of_link(p.on, ifname)) {
        p.add(severity::less, "interface_in_use", port.options.name,
              ifname + " " + use + "; while halfpoll runs, the kernel receives nothing there",
              "use another interface, or configure that on the shadow " + port.shadow);
    }
}

} // namespace halfpoll
