// SPDX-License-Identifier: BSD-3-Clause
#include "bpf_links.hpp"

#include "forward/events/epoll_set.hpp"

#include <halfpoll/error.hpp>

#include <array>
#include <bpf/bpf.h>
#include <cerrno>
#include <iterator>
#include <linux/bpf.h>
#include <linux/netfilter.h>
#include <sys/socket.h>
#include <utility>

namespace halfpoll
{

namespace
{

// By number: the headers of Debian 12 have none of these (Linux 6.4).
constexpr std::uint32_t link_type_netfilter = 10; // BPF_LINK_TYPE_NETFILTER
constexpr int prog_type_netfilter = 32;
constexpr auto attach_netfilter = static_cast<bpf_attach_type>(45);

/// The head of bpf_link_info, with the part of this type of link.
struct link_info {
    std::uint32_t type, id, prog_id, unused, pf, hook;
    std::int32_t priority;
    std::uint32_t flags;
};

std::optional<policy_reason> inspect(std::uint32_t id)
{
    const owned_fd link(bpf_link_get_fd_by_id(id));
    if (link.get() < 0 && errno == ENOENT) {
        return std::nullopt; // gone meanwhile
    }
    link_info info{};
    std::uint32_t size = sizeof info;
    if (link.get() < 0 || bpf_obj_get_info_by_fd(link.get(), &info, &size) != 0) {
        throw_errno(errno, "link " + std::to_string(id));
    }
    return info.type == link_type_netfilter ? bpf_hook_reason(info.pf, info.hook, "link " + std::to_string(id))
                                            : std::nullopt;
}

} // namespace

std::optional<policy_reason> bpf_hook_reason(std::uint32_t pf, std::uint32_t hook, const std::string &what)
{
    constexpr std::array names{"prerouting", "input", "forward", "output", "postrouting"};
    if (pf == NFPROTO_ARP || pf == NFPROTO_BRIDGE || hook == NF_INET_LOCAL_IN || hook == NF_INET_LOCAL_OUT) {
        return std::nullopt;
    }
    policy_reason reason;
    if (pf == NFPROTO_IPV4 || pf == NFPROTO_IPV6) {
        reason.family = pf == NFPROTO_IPV4 ? AF_INET : AF_INET6;
    }
    reason.text = "bpf netfilter " + what + " " + (hook < names.size() ? names[hook] : "hook " + std::to_string(hook));
    return reason;
}

std::optional<std::vector<policy_reason>> bpf_links::look()
{
    std::map<std::uint32_t, std::optional<policy_reason>> links;
    std::vector<policy_reason> reasons;
    std::uint32_t id = 0;
    while (bpf_link_get_next_id(id, &id) == 0) {
        const auto known = links_.find(id);
        const auto &reason = links[id] = known != links_.end() ? known->second : inspect(id);
        if (reason) {
            reasons.push_back(*reason);
        }
    }
    if (errno == EPERM || errno == EACCES) {
        return std::nullopt;
    }
    if (errno != ENOENT && errno != ENOSYS && errno != EINVAL) { // EINVAL: no links (before Linux 5.8)
        throw_errno(errno, "listing links");
    }
    links_ = std::move(links);
    return reasons;
}

/// Loads a program of the type, which the kernel refuses if it knows no netfilter hooks with programs.
bool lacks_bpf_hooks()
{
    const bpf_insn accept[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = NF_ACCEPT},
                               {.code = BPF_JMP | BPF_EXIT}};
    bpf_prog_load_opts options{};
    options.sz = sizeof options;
    options.expected_attach_type = attach_netfilter;
    const owned_fd program(bpf_prog_load(static_cast<bpf_prog_type>(prog_type_netfilter), nullptr, "BSD", accept,
                                         std::size(accept), &options));
    if (program.get() >= 0) {
        return false;
    }
    if (errno != EINVAL && errno != ENOSYS) {
        throw_errno(errno, "netfilter hooks");
    }
    return true;
}

} // namespace halfpoll
