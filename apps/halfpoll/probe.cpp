// SPDX-License-Identifier: BSD-3-Clause
#include "probe.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <liburing.h>
#include <linux/capability.h>
#include <net/if.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace halfpoll
{

namespace
{

namespace fs = std::filesystem;

bool has_capability(unsigned cap)
{
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct data[2]{};
    return syscall(SYS_capget, &header, data) == 0 && (data[cap / 32].effective >> (cap % 32) & 1);
}

bool uses_af_xdp(const config &cfg)
{
    for (const port_config &port : cfg.ports) {
        if (port.kind == device_kind::af_xdp) {
            return true;
        }
    }
    return false;
}

void probe_privileges(const config &cfg, probe_result &result)
{
    const auto need = [&result](unsigned cap, const char *name, const char *why) {
        if (!has_capability(cap)) {
            result.missing.push_back(std::string("no ") + name + ", needed " + why +
                                     ": run as root, or give the program the capability");
        }
    };
    need(CAP_NET_ADMIN, "CAP_NET_ADMIN", "to create the shadow interfaces");
    if (!cfg.netns.empty()) {
        need(CAP_SYS_ADMIN, "CAP_SYS_ADMIN", "to enter the network namespace of netns");
    }
    if (uses_af_xdp(cfg)) {
        need(CAP_NET_RAW, "CAP_NET_RAW", "for AF_XDP sockets");
        if (!has_capability(CAP_BPF)) {
            need(CAP_SYS_ADMIN, "CAP_BPF", "to load the XDP program of AF_XDP ports");
        }
    }
    if (cfg.fifo_priority > 0 && !has_capability(CAP_SYS_NICE)) {
        result.degraded.push_back(
            "no CAP_SYS_NICE, so fifo_priority has no effect: run as root, or set fifo_priority = 0");
    }
}

void probe_tun(probe_result &result)
{
    const int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        result.missing.push_back(std::string("cannot open /dev/net/tun (") + std::strerror(errno) +
                                 "), needed for the shadow interfaces: modprobe tun, or "
                                 "mkdir -p /dev/net && mknod /dev/net/tun c 10 200");
        return;
    }
    close(fd);
}

void probe_io_uring(const config &cfg, probe_result &result)
{
    io_uring ring;
    const int rc = io_uring_queue_init(2, &ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
    if (rc == 0) {
        io_uring_queue_exit(&ring);
    } else if (cfg.interrupts) {
        const char *remedy = rc == -EPERM    ? "sysctl kernel.io_uring_disabled=0, and allow it in the seccomp profile"
                             : rc == -ENOMEM ? "raise the locked-memory limit (ulimit -l)"
                                             : "use Linux 6.1 or newer";
        result.degraded.push_back(std::string("no io_uring (") + std::strerror(-rc) +
                                  "), so every queue spins: " + remedy);
    }
}

void probe_af_xdp(const port_config &port, probe_result &result)
{
    const std::string name = port.ifname();
    if (if_nametoindex(name.c_str()) == 0) {
        result.missing.push_back(port.options.name + ": no interface " + name +
                                 " in this network namespace: see `ip link`; ip link set " + name +
                                 " netns ... moves one here");
        return;
    }
    // /sys may show another namespace; there is nothing to count then.
    std::error_code none;
    const auto queues = fs::directory_iterator("/sys/class/net/" + name + "/queues", none);
    unsigned rx = 0;
    for (const auto &entry : queues) {
        rx += entry.path().filename().string().starts_with("rx-") ? 1 : 0;
    }
    if (rx > 0 && rx < port.options.rx_queues) {
        result.missing.push_back(port.options.name + ": " + name + " has " + std::to_string(rx) +
                                 " receive queues, not " + std::to_string(port.options.rx_queues) +
                                 ": lower rx_queues, or ethtool -L " + name + " combined " +
                                 std::to_string(port.options.rx_queues));
    }
}

void probe_pci(const port_config &port, probe_result &result)
{
    const fs::path device = "/sys/bus/pci/devices/" + port.device;
    std::error_code none;
    if (!fs::exists(device, none)) {
        result.missing.push_back(port.options.name + ": no PCI device " + port.device + ": see `lspci -D`");
        return;
    }
    const std::string driver = fs::read_symlink(device / "driver", none).filename();
    if (driver != "vfio-pci" && driver != "uio_pci_generic" && driver != "igb_uio" && !driver.starts_with("mlx")) {
        result.missing.push_back(port.options.name + ": " + port.device + " is bound to " +
                                 (driver.empty() ? "no driver" : driver) + ": dpdk-devbind.py -b vfio-pci " +
                                 port.device + " (the kernel loses that interface)");
    }
}

/// A figure of /proc/meminfo; 0 if it is not there.
std::uint64_t meminfo(const std::string &key)
{
    std::ifstream in("/proc/meminfo");
    for (std::string word; in >> word;) {
        if (std::uint64_t value = 0; word == key + ":" && in >> value) {
            return value;
        }
    }
    return 0;
}

void probe_memory(const config &cfg, probe_result &result)
{
    const std::uint64_t page_kb = meminfo("Hugepagesize");
    const std::uint64_t free_mb = meminfo("HugePages_Free") * page_kb / 1024;
    if (cfg.hugepages && free_mb < cfg.memory_mb) {
        const std::uint64_t pages = page_kb ? (cfg.memory_mb * 1024 + page_kb - 1) / page_kb : 0;
        result.degraded.push_back(std::to_string(free_mb) + " MiB of hugepages are free, memory_mb is " +
                                  std::to_string(cfg.memory_mb) +
                                  ", so halfpoll runs without them: sysctl vm.nr_hugepages=" + std::to_string(pages));
    }
    rlimit limit{};
    const std::uint64_t wanted = std::uint64_t{cfg.memory_mb} << 20;
    if (uses_af_xdp(cfg) && !has_capability(CAP_IPC_LOCK) && getrlimit(RLIMIT_MEMLOCK, &limit) == 0 &&
        limit.rlim_cur < wanted) {
        result.missing.push_back("the locked-memory limit is " + std::to_string(limit.rlim_cur >> 10) +
                                 " KiB, too little for AF_XDP buffers: ulimit -l unlimited (systemd: "
                                 "LimitMEMLOCK=infinity), or give the program CAP_IPC_LOCK");
    }
}

void probe_af_xdp_socket(probe_result &result)
{
    const int fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
    if (fd >= 0) {
        close(fd);
    } else if (errno == EAFNOSUPPORT) {
        result.missing.push_back("this kernel has no AF_XDP: use one built with CONFIG_XDP_SOCKETS");
    }
}

} // namespace

probe_result probe_machine(const config &cfg)
{
    probe_result result;
    probe_privileges(cfg, result);
    probe_tun(result);
    probe_io_uring(cfg, result);
    probe_memory(cfg, result);
    if (uses_af_xdp(cfg)) {
        probe_af_xdp_socket(result);
    }
    for (const port_config &port : cfg.ports) {
        if (port.kind == device_kind::af_xdp) {
            probe_af_xdp(port, result);
        } else if (port.kind == device_kind::pci) {
            probe_pci(port, result);
        }
    }
    return result;
}

} // namespace halfpoll
