// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/error.hpp>

#include <arpa/inet.h>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sched.h>
#include <string>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

namespace halfpoll::bench
{

/// Makes a veth pair "va" - "vb" in a nameless network namespace of this process, which ends with the process. The
/// kernel's stack sends nothing on either end. In this process, and in no other, /sys shows the namespace. Throws
/// `error`.
inline void make_cable()
{
    if (unshare(CLONE_NEWNET | CLONE_NEWNS) != 0) {
        throw_errno(errno, "no network namespace (run as root)");
    }
    if (mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        mount("sysfs", "/sys", "sysfs", 0, nullptr) != 0) {
        throw_errno(errno, "cannot mount /sys of the namespace");
    }
    if (std::system("ip link add va type veth peer name vb && echo 1 > /proc/sys/net/ipv6/conf/vb/disable_ipv6 && "
                    "ip link set vb up") != 0) {
        throw error("cannot make a veth pair (is iproute2 installed?)");
    }
}

/// Pins the calling thread to a CPU. `fifo_priority` above 0 also makes it SCHED_FIFO. Throws `error`.
inline void pin(int cpu, int fifo_priority = 0)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    sched_param priority{};
    priority.sched_priority = fifo_priority;
    if (sched_setaffinity(0, sizeof one, &one) != 0 ||
        (fifo_priority > 0 && sched_setscheduler(0, SCHED_FIFO, &priority) != 0)) {
        throw_errno(errno, "cannot run on CPU " + std::to_string(cpu) + " (two CPUs and root are needed)");
    }
}

/// A non-blocking packet socket on the kernel's end of the cable.
class packet_socket
{
public:
    packet_socket() : fd_(socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, htons(ETH_P_802_EX1)))
    {
        sockaddr_ll address{};
        address.sll_family = AF_PACKET;
        address.sll_protocol = htons(ETH_P_802_EX1);
        address.sll_ifindex = static_cast<int>(if_nametoindex("vb"));
        const int bypass = 1;
        const int bytes = 64 << 20; // so large that frames are lost in the device only, which counts them
        if (fd_ < 0 || bind(fd_, reinterpret_cast<sockaddr *>(&address), sizeof address) != 0 ||
            setsockopt(fd_, SOL_PACKET, PACKET_QDISC_BYPASS, &bypass, sizeof bypass) != 0 ||
            setsockopt(fd_, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes) != 0) {
            throw_errno(errno, "no packet socket on the peer");
        }
    }
    ~packet_socket() { ::close(fd_); }
    packet_socket(const packet_socket &) = delete;
    packet_socket &operator=(const packet_socket &) = delete;
    int fd() const noexcept { return fd_; }

private:
    int fd_;
};

/// A broadcast frame of 60 bytes that carries a number.
struct frame {
    std::uint8_t destination[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    std::uint8_t source[6] = {2, 2, 2, 2, 2, 2};
    std::uint8_t type[2] = {0x88, 0xb5};
    std::uint8_t number[4] = {};
    std::uint8_t rest[42] = {};
};
static_assert(sizeof(frame) == 60);

} // namespace halfpoll::bench
