// SPDX-License-Identifier: BSD-3-Clause
#include "bpf_devices.hpp"

#include "forward/events/epoll_set.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <libmnl/libmnl.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <optional>
#include <string_view>
#include <sys/syscall.h>
#include <unistd.h>
#include <utility>

namespace halfpoll
{

namespace
{

// By number: the headers of Debian 12 lack the types of Linux 6.6.
constexpr std::uint32_t tcx_ingress = 46; // BPF_TCX_INGRESS
constexpr std::uint32_t tcx_egress = 47;  // BPF_TCX_EGRESS
constexpr unsigned receive_buffer = 1 << 20;
constexpr unsigned most_programs = 16; // of one interface
constexpr int attempts = 3;            // to list interfaces that change meanwhile
constexpr std::array kinds{"tun", "vlan"};

template <std::size_t N>
using attributes = std::array<const nlattr *, N>;

template <std::size_t N>
int collect(const nlattr *attr, void *to)
{
    const unsigned type = mnl_attr_get_type(attr);
    if (type < N) {
        (*static_cast<attributes<N> *>(to))[type] = attr;
    }
    return MNL_CB_OK;
}

template <std::size_t N>
attributes<N> nested(const nlattr *attr)
{
    attributes<N> inner{};
    if (attr) {
        mnl_attr_parse_nested(attr, collect<N>, &inner);
    }
    return inner;
}

bool is_of_interest(const nlattr *link_info)
{
    const nlattr *kind = nested<IFLA_INFO_MAX + 1>(link_info)[IFLA_INFO_KIND];
    for (const std::string_view each : kinds) {
        if (kind && each == mnl_attr_get_str(kind)) {
            return true;
        }
    }
    return false;
}

/// True if the interface has an XDP program of any mode.
bool has_xdp(const nlattr *xdp)
{
    const nlattr *attached = nested<IFLA_XDP_MAX + 1>(xdp)[IFLA_XDP_ATTACHED];
    return attached && mnl_attr_get_u8(attached) != XDP_ATTACHED_NONE;
}

} // namespace

bpf_devices::bpf_devices(const epoll_set &events, const std::string &netns, std::function<bool(std::uint32_t)> is_own)
    : netns_(netns), socket_(netns, NETLINK_ROUTE, {RTNLGRP_LINK}, receive_buffer), is_own_(std::move(is_own))
{
    events.watch(socket_.fd());
}

/// Enters a link into `into`, if it may be a shadow or a VLAN on one.
void bpf_devices::take(const nlmsghdr &message, std::map<int, device> &into) const
{
    const auto *header = static_cast<const ifinfomsg *>(mnl_nlmsg_get_payload(&message));
    if (message.nlmsg_type != RTM_NEWLINK || mnl_nlmsg_get_payload_len(&message) < sizeof *header ||
        header->ifi_family != AF_UNSPEC) {
        return;
    }
    attributes<IFLA_MAX + 1> attrs{};
    mnl_attr_parse(&message, sizeof *header, collect<IFLA_MAX + 1>, &attrs);
    if (is_of_interest(attrs[IFLA_LINKINFO]) && attrs[IFLA_IFNAME]) {
        into[header->ifi_index] = {.name = mnl_attr_get_str(attrs[IFLA_IFNAME]), .xdp = has_xdp(attrs[IFLA_XDP])};
    }
}

/// Notes whether a notification tells of an XDP program that came or went.
void bpf_devices::note(const nlmsghdr &message)
{
    std::map<int, device> link;
    take(message, link);
    for (const auto &[ifindex, now] : link) {
        const auto before = devices_.find(ifindex);
        changed_ |= now.xdp != (before != devices_.end() && before->second.xdp);
    }
}

bool bpf_devices::changed()
{
    netlink_socket::received got;
    while ((got = socket_.receive([this](const nlmsghdr &message) { note(message); })) !=
           netlink_socket::received::nothing) {
        changed_ |= got == netlink_socket::received::overrun;
    }
    return std::exchange(changed_, false);
}

std::vector<policy_reason> bpf_devices::look()
{
    devices_.clear();
    for (const char *kind : kinds) {
        list(kind);
    }
    const netns_scope inside = netns_.enter();
    std::vector<policy_reason> reasons;
    for (const auto &[ifindex, found] : devices_) {
        const auto add = [&](policy_side side, const char *what) {
            reasons.push_back({.side = side, .ifindex = ifindex, .text = "bpf " + (what + (" on " + found.name))});
        };
        if (found.xdp) {
            add(policy_side::in, "xdp");
        }
        if (has_tcx(ifindex, tcx_ingress)) {
            add(policy_side::in, "tcx ingress");
        }
        if (has_tcx(ifindex, tcx_egress)) {
            add(policy_side::out, "tcx egress");
        }
    }
    return reasons;
}

/// True if an interface of the namespace that the calling thread is in has a program there that is not our own. Of more
/// programs than fit, one counts as such.
bool bpf_devices::has_tcx(int ifindex, std::uint32_t where) const
{
    std::array<std::uint32_t, most_programs> ids{};
    bpf_attr attr{};
    attr.query.target_fd = static_cast<std::uint32_t>(ifindex);
    attr.query.attach_type = where;
    attr.query.prog_ids = reinterpret_cast<std::uintptr_t>(ids.data());
    attr.query.prog_cnt = ids.size();
    if (syscall(SYS_bpf, BPF_PROG_QUERY, &attr, sizeof attr.query) == 0) {
        return !std::all_of(ids.begin(), ids.begin() + attr.query.prog_cnt, is_own_);
    }
    if (errno == ENOSPC) {
        return true;
    }
    if (errno != EINVAL && errno != ENODEV && errno != ENOSYS) { // the kernel has no tcx; the interface is gone
        throw_errno(errno, "tcx programs");
    }
    return false;
}

/// Lists the interfaces of a kind. What a notification among the answers tells may be newer or older than they are.
void bpf_devices::list(const char *kind)
{
    for (int attempt = 0; attempt < attempts; ++attempt) {
        socket_.request_links(kind);
        bool complete = false, failed = false, interrupted = false;
        const auto enter = [&](const nlmsghdr &answer) {
            const bool reply = socket_.is_reply(answer);
            complete |= reply && answer.nlmsg_type == NLMSG_DONE;
            failed |= reply && answer.nlmsg_type == NLMSG_ERROR;
            interrupted |= reply && (answer.nlmsg_flags & NLM_F_DUMP_INTR) != 0;
            if (!reply) {
                note(answer);
            }
            take(answer, devices_);
        };
        // The kernel has answered a request when it returns, and makes the next part of a list when one is read.
        while (!complete && !failed && socket_.receive(enter) != netlink_socket::received::nothing) {
        }
        if (complete && !interrupted) {
            return;
        }
    }
    throw error("interfaces cannot be listed");
}

} // namespace halfpoll
