// SPDX-License-Identifier: BSD-3-Clause
#include "nf_hooks.hpp"

#include "bpf_links.hpp"

#include <arpa/inet.h>
#include <cerrno>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_hook.h>
#include <map>

namespace halfpoll
{

namespace
{

// By number: the headers of Debian 12 lack the types of Linux 6.4.
constexpr std::uint32_t type_bpf = 2;   // NFNL_HOOK_TYPE_BPF
constexpr std::uint16_t program_id = 1; // NFNLA_HOOK_BPF_ID
constexpr std::uint8_t subsystem = 12;  // NFNL_SUBSYS_HOOK
constexpr unsigned receive_buffer = 1 << 18;

int collect(const nlattr *attr, void *to)
{
    (*static_cast<std::map<unsigned, const nlattr *> *>(to))[mnl_attr_get_type(attr)] = attr;
    return MNL_CB_OK;
}

std::map<unsigned, const nlattr *> nested(const nlattr *attr)
{
    std::map<unsigned, const nlattr *> inner;
    mnl_attr_parse_nested(attr, collect, &inner);
    return inner;
}

std::uint32_t number(const std::map<unsigned, const nlattr *> &attrs, unsigned type)
{
    const auto found = attrs.find(type);
    const bool valid = found != attrs.end() && mnl_attr_validate(found->second, MNL_TYPE_U32) >= 0;
    return valid ? ntohl(mnl_attr_get_u32(found->second)) : 0;
}

/// Errno of a message that ends the list.
int error_of(const nlmsghdr &message)
{
    return mnl_nlmsg_get_payload_len(&message) < sizeof(int)
               ? 0
               : -*static_cast<const int *>(mnl_nlmsg_get_payload(&message));
}

} // namespace

std::optional<policy_reason> reason_of_hook(const nlmsghdr &message)
{
    if (mnl_nlmsg_get_payload_len(&message) < sizeof(nfgenmsg)) {
        return std::nullopt;
    }
    std::map<unsigned, const nlattr *> attrs;
    mnl_attr_parse(&message, sizeof(nfgenmsg), collect, &attrs);
    const auto chain = attrs.find(NFNLA_HOOK_CHAIN_INFO);
    const auto info = chain == attrs.end() ? attrs : nested(chain->second);
    if (chain == attrs.end() || number(info, NFNLA_HOOK_INFO_TYPE) != type_bpf) {
        return std::nullopt;
    }
    const auto described = info.find(NFNLA_HOOK_INFO_DESC);
    const std::uint32_t program = described == info.end() ? 0 : number(nested(described->second), program_id);
    const auto *header = static_cast<const nfgenmsg *>(mnl_nlmsg_get_payload(&message));
    return bpf_hook_reason(header->nfgen_family, number(attrs, NFNLA_HOOK_HOOKNUM),
                           "program " + std::to_string(program));
}

nf_hooks::nf_hooks(const std::string &netns) : socket_(netns, NETLINK_NETFILTER, {}, receive_buffer) {}

std::optional<std::vector<policy_reason>> nf_hooks::look()
{
    std::vector<policy_reason> reasons;
    for (const std::uint8_t pf : {NFPROTO_IPV4, NFPROTO_IPV6}) {
        for (const std::uint32_t hook : {NF_INET_PRE_ROUTING, NF_INET_FORWARD, NF_INET_POST_ROUTING}) {
            if (!look_at(pf, hook, reasons)) {
                return std::nullopt;
            }
        }
    }
    return reasons;
}

/// Adds the reasons at one hook. False if the kernel cannot list hooks.
bool nf_hooks::look_at(std::uint8_t pf, std::uint32_t hook, std::vector<policy_reason> &reasons)
{
    char space[MNL_NLMSG_HDRLEN + MNL_ALIGN(sizeof(nfgenmsg)) + 64] = {};
    nlmsghdr *message = mnl_nlmsg_put_header(space);
    message->nlmsg_type = subsystem << 8 | NFNL_MSG_HOOK_GET;
    message->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    static_cast<nfgenmsg *>(mnl_nlmsg_put_extra_header(message, sizeof(nfgenmsg)))->nfgen_family = pf;
    mnl_attr_put_u32(message, NFNLA_HOOK_HOOKNUM, htonl(hook));
    socket_.request(*message);
    std::optional<int> end;
    const auto take = [&](const nlmsghdr &answer) {
        if (answer.nlmsg_type == NLMSG_DONE || answer.nlmsg_type == NLMSG_ERROR) {
            end = error_of(answer);
        } else if (const auto reason = reason_of_hook(answer)) {
            reasons.push_back(*reason);
        }
    };
    // The kernel has answered a request when it returns, and makes the next part of a list when one is read.
    while (!end && socket_.receive(take) == netlink_socket::received::some) {
    }
    if (end && (*end == EINVAL || *end == EOPNOTSUPP)) {
        return false;
    }
    if (end.value_or(ENOBUFS) != 0) {
        throw_errno(end.value_or(ENOBUFS), "listing netfilter hooks");
    }
    return true;
}

} // namespace halfpoll
