// SPDX-License-Identifier: BSD-3-Clause
#include "probe_parts.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <linux/capability.h>
#include <linux/netlink.h>
#include <sys/socket.h>

namespace halfpoll
{

namespace
{

struct capability {
    unsigned number;
    const char *name;
    const char *why;
};

/// The capabilities without which halfpoll cannot run.
std::vector<capability> required_capabilities(const probing &p)
{
    std::vector<capability> required{{CAP_NET_ADMIN, "CAP_NET_ADMIN", "to create the shadow interfaces"}};
    if (!p.cfg.netns.empty()) {
        required.push_back({CAP_SYS_ADMIN, "CAP_SYS_ADMIN", "to enter the network namespace of netns"});
    }
    if (p.has(device_kind::af_xdp)) {
        required.push_back({CAP_NET_RAW, "CAP_NET_RAW", "for AF_XDP sockets"});
        required.push_back({CAP_BPF, "CAP_BPF", "to load the XDP program of AF_XDP ports"});
    }
    return required;
}

bool granted(const host &on, const capability &c)
{
    return on.capable(c.number) || (c.number == CAP_BPF && on.capable(CAP_SYS_ADMIN));
}

std::string lower(std::string text)
{
    std::ranges::transform(text, text.begin(), [](unsigned char c) { return std::tolower(c); });
    return text;
}

void probe_capabilities(probing &p)
{
    for (const capability &c : required_capabilities(p)) {
        if (!granted(p.on, c)) {
            p.add(severity::stops, lower(c.name), "", std::string("no ") + c.name + ", needed " + c.why,
                  grant_capabilities(p) + ", or run it as root (in a container: --cap-add " + (c.name + 4) + ")");
        }
    }
}

void probe_tun(probing &p)
{
    const int err = p.on.tun_error();
    if (err == 0) {
        return;
    }
    const std::string remedy =
        err == EACCES || err == EPERM
            ? "chmod 0666 /dev/net/tun (in a container: --device /dev/net/tun)"
            : "modprobe tun, and if it is still missing: mkdir -p /dev/net && mknod /dev/net/tun c 10 200 (in a "
              "container: --device /dev/net/tun)";
    p.add(severity::stops, "tun", "",
          std::string("cannot use /dev/net/tun (") + std::strerror(err) + "), needed for the shadow interfaces",
          remedy);
}

void probe_vhost(probing &p)
{
    if (const int err = p.cfg.slow_path_vhost ? p.on.vhost_error() : 0) {
        const std::string permit =
            "add the user to the group of /dev/vhost-net, kvm (systemd: SupplementaryGroups=kvm)";
        p.add(severity::stops, "vhost_net", "",
              std::string("cannot use /dev/vhost-net (") + std::strerror(err) + "), needed for slow_path_vhost",
              (err == EACCES || err == EPERM ? permit : "modprobe vhost_net") +
                  " (in a container: --device /dev/vhost-net), or set slow_path_vhost = false");
    }
}

void probe_netlink(probing &p)
{
    if (const int err = p.on.socket_error(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE)) {
        p.add(
            severity::stops, "netlink", "",
            std::string("no rtnetlink socket (") + std::strerror(err) + "), needed to follow the kernel's routes",
            "allow AF_NETLINK (systemd: RestrictAddressFamilies=AF_NETLINK AF_UNIX AF_INET AF_INET6 AF_PACKET AF_XDP; "
            "in a container: --security-opt seccomp=unconfined)");
    }
}

std::string io_uring_remedy(const host &on, int err)
{
    const std::string disabled = on.read("/proc/sys/kernel/io_uring_disabled");
    switch (err) {
    case EPERM:
        return disabled != "" && disabled != "0"
                   ? "sysctl -w kernel.io_uring_disabled=0"
                   : "allow io_uring_setup, io_uring_enter and io_uring_register in the seccomp filter (in a "
                     "container: "
                     "--security-opt seccomp=unconfined; systemd: SystemCallFilter=io_uring_setup io_uring_enter "
                     "io_uring_register)";
    case ENOMEM:
        return "ulimit -l unlimited (systemd: LimitMEMLOCK=infinity)";
    default:
        return "use Linux 6.1 or newer, built with CONFIG_IO_URING";
    }
}

void probe_io_uring(probing &p)
{
    const int err = p.cfg.interrupts ? p.on.io_uring_error() : 0;
    if (err != 0) {
        p.add(severity::less, "io_uring", "",
              std::string("no io_uring (") + std::strerror(err) + "), so every queue spins",
              io_uring_remedy(p.on, err));
    }
}

/// A new network namespace does not forward by default, and the forwarder follows these sysctls.
void probe_forwarding(probing &p)
{
    const std::string where = p.cfg.netns.empty()                          ? ""
                              : p.cfg.netns.find('/') == std::string::npos ? "ip netns exec " + p.cfg.netns + " "
                                                                           : "nsenter --net=" + p.cfg.netns + " ";
    const auto look = [&](const char *id, const std::string &family, const std::string &path, const std::string &name) {
        if (p.on.sysctl(p.cfg.netns, path) == "0") {
            p.add(severity::less, id, "", name + " is 0, so " + family + " packets are not forwarded",
                  where + "sysctl -w " + name + "=1");
        }
    };
    look("ipv4_forwarding", "IPv4", "net/ipv4/ip_forward", "net.ipv4.ip_forward");
    look("ipv6_forwarding", "IPv6", "net/ipv6/conf/all/forwarding", "net.ipv6.conf.all.forwarding");
}

/// Whoever leaves out a kind may do so for a good reason, or may have forgotten it.
void probe_obey(probing &p)
{
    std::string left_out;
    for (std::size_t kind = 0; kind < policy_kind_names.size(); ++kind) {
        if (!p.cfg.obey[kind]) {
            left_out += (left_out.empty() ? "" : ", ") + std::string(policy_kind_names[kind]);
        }
    }
    if (!left_out.empty()) {
        p.add(severity::advice, "obey", "",
              "does not obey " + left_out + ", so the fast path forwards what the kernel would drop or change by it",
              "add it to obey in [forward], unless packets are filtered elsewhere");
    }
}

} // namespace

bool probing::has(device_kind kind) const
{
    return std::ranges::any_of(cfg.ports, [kind](const port_config &port) { return port.kind == kind; });
}

std::string grant_capabilities(const probing &p)
{
    std::string names;
    for (const capability &c : required_capabilities(p)) {
        names += (names.empty() ? "" : ",") + lower(c.name);
    }
    if (!fifo_keys(p.cfg).empty()) {
        names += ",cap_sys_nice";
    }
    if (p.has(device_kind::af_xdp)) {
        names += ",cap_perfmon";
    }
    if (p.has(device_kind::af_xdp) || p.has(device_kind::pci)) {
        names += ",cap_ipc_lock";
    }
    return "setcap " + names + "+ep " + p.on.program();
}

bool kernel_before(const host &on, unsigned major, unsigned minor)
{
    unsigned found_major = 0, found_minor = 0;
    return std::sscanf(on.read("/proc/sys/kernel/osrelease").c_str(), "%u.%u", &found_major, &found_minor) == 2 &&
           (found_major < major || (found_major == major && found_minor < minor));
}

void probe_program(probing &p)
{
    probe_capabilities(p);
    probe_tun(p);
    probe_vhost(p);
    probe_netlink(p);
    probe_io_uring(p);
    probe_forwarding(p);
    probe_obey(p);
}

} // namespace halfpoll
