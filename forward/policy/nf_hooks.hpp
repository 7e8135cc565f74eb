// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "forward/netlink/netlink.hpp"
#include "policy_reason.hpp"

#include <optional>
#include <string>
#include <vector>

namespace halfpoll
{

/// Lists the netfilter hooks of a namespace (CONFIG_NETFILTER_NETLINK_HOOK, Linux 5.14) and finds those that are BPF
/// programs. Needs only CAP_NET_ADMIN, where bpf_links needs CAP_SYS_ADMIN.
class nf_hooks
{
public:
    /// Throws `error`.
    explicit nf_hooks(const std::string &netns);
    /// None if the kernel cannot list hooks. Throws `error`.
    std::optional<std::vector<policy_reason>> look();

private:
    bool look_at(std::uint8_t pf, std::uint32_t hook, std::vector<policy_reason> &reasons);

    netlink_socket socket_;
};

/// The reason in one message of the list.
std::optional<policy_reason> reason_of_hook(const nlmsghdr &message);

} // namespace halfpoll
