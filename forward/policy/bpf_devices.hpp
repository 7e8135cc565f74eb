// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "forward/netlink/netlink.hpp"
#include "kept_netns.hpp"
#include "policy_reason.hpp"

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace halfpoll
{

class epoll_set;

/// Finds the BPF programs at the interfaces of a namespace that may be shadows or VLANs on them: XDP programs, and tcx
/// programs (Linux 6.6). Netkit programs are at interfaces of their own kind, by which the kernel alone forwards.
class bpf_devices
{
public:
    /// `is_own`: see bpf_source. Throws `error`.
    bpf_devices(const epoll_set &events, const std::string &netns, std::function<bool(std::uint32_t)> is_own);
    /// Reads the notifications that wait. True if one tells of an XDP program that came or went, and after it look()
    /// has not listed the interfaces. Throws `error`.
    bool changed();
    /// Throws `error`.
    std::vector<policy_reason> look();

private:
    struct device {
        std::string name;
        bool xdp = false;
    };
    void list(const char *kind);
    void note(const nlmsghdr &message);
    void take(const nlmsghdr &message, std::map<int, device> &into) const;

    bool has_tcx(int ifindex, std::uint32_t where) const;

    kept_netns netns_;
    netlink_socket socket_;
    std::map<int, device> devices_; ///< of the last look
    bool changed_ = false;          ///< since then
    std::function<bool(std::uint32_t)> is_own_;
};

} // namespace halfpoll
