// SPDX-License-Identifier: BSD-3-Clause
#include "sysctl_source.hpp"

#include "policy.hpp"

#include <halfpoll/error.hpp>

#include <algorithm>
#include <cstring>
#include <linux/rtnetlink.h>
#include <sys/socket.h>
#include <utility>

namespace halfpoll
{

namespace
{

constexpr unsigned receive_buffer = 1U << 20;
constexpr ktime_t stall_time = 60 * NSEC_PER_SEC; // after which the end of a dump was lost

bool on(const sysctl_file &file) { return file.read().value_or(0) != 0; }

/// The name of a setting of an interface, or of all.
std::string name_of(std::uint8_t family, const std::string &interface, const char *setting)
{
    return std::string("sysctl net.") + (family == AF_INET ? "ipv4" : "ipv6") + ".conf." + interface + "." + setting;
}

} // namespace

sysctl_source::kernel::kernel(const epoll_set &events, const std::string &netns)
    : socket(netns, NETLINK_ROUTE, {}, receive_buffer), use_pmtu(netns, "ipv4/ip_forward_use_pmtu"),
      route_localnet(netns, "ipv4/conf/all/route_localnet"), accept_local(netns, "ipv4/conf/all/accept_local"),
      accept_redirects4(netns, "ipv4/conf/all/accept_redirects"), rp_filter(netns, "ipv4/conf/all/rp_filter"),
      forwarding6(netns, "ipv6/conf/all/forwarding"), proxy_ndp(netns, "ipv6/conf/all/proxy_ndp")
{
    events.watch(socket.fd());
}

sysctl_source::sysctl_source(policy &policies, const epoll_set &events, const std::string &netns) : policies_(policies)
{
    try {
        kernel_.emplace(events, netns);
        request();
    } catch (const error &e) {
        doubt(e.what());
    }
}

void sysctl_source::process()
{
    try {
        if (kernel_ && ktime_get() >= next_) {
            request();
        }
        auto got = netlink_socket::received::some;
        while (kernel_ && got == netlink_socket::received::some) {
            got = kernel_->socket.receive([this](const nlmsghdr &message) { take(message); });
        }
        if (got == netlink_socket::received::overrun) {
            doubt("messages were lost");
        }
    } catch (const error &e) {
        doubt(e.what());
    }
}

void sysctl_source::request()
{
    links_.clear();
    next_ = ktime_get() + stall_time;
    kernel_->socket.request_dump(RTM_GETLINK, AF_UNSPEC);
}

void sysctl_source::take(const nlmsghdr &message)
{
    if (!kernel_->socket.is_reply(message)) {
        return;
    }
    if (message.nlmsg_type == NLMSG_ERROR || message.nlmsg_type == NLMSG_DONE) { // both begin with an error number
        const bool has_number = message.nlmsg_len >= NLMSG_LENGTH(sizeof(int));
        const int errnum = has_number ? -*static_cast<const int *>(NLMSG_DATA(&message)) : 0;
        errnum == 0 ? inspected() : doubt(std::strerror(errnum));
    } else if (auto link = parse_link_settings(message)) {
        links_.push_back(std::move(*link));
    }
}

/// Looks again after a second.
void sysctl_source::doubt(const std::string &why)
{
    policies_.doubt(policy_kind::sysctl, why);
    next_ = ktime_get() + NSEC_PER_SEC;
}

void sysctl_source::inspected()
{
    std::vector<policy_reason> reasons;
    add_global(reasons);
    for (const link_settings &link : links_) {
        add_of_link(link, reasons);
        add_redirects(link, reasons);
    }
    next_ = ktime_get() + NSEC_PER_SEC + static_cast<ktime_t>(links_.size()) * NSEC_PER_MSEC;
    policies_.replace(policy_kind::sysctl, std::move(reasons));
}

void sysctl_source::add_global(std::vector<policy_reason> &reasons) const
{
    if (on(kernel_->use_pmtu)) { // path MTUs, which the mirror does not know, count for forwarded packets
        reasons.push_back({.family = AF_INET, .text = "sysctl net.ipv4.ip_forward_use_pmtu"});
    }
    if (on(kernel_->route_localnet)) { // 127/8 is forwarded
        reasons.push_back({.family = AF_INET, .text = name_of(AF_INET, "all", "route_localnet")});
    }
    if (on(kernel_->proxy_ndp)) { // the kernel answers neighbour solicitations that are sent to a proxied address
        reasons.push_back({.family = AF_INET6, .text = name_of(AF_INET6, "all", "proxy_ndp")});
    }
}

void sysctl_source::add_of_link(const link_settings &link, std::vector<policy_reason> &reasons) const
{
    const auto add = [&](const std::string &interface, const char *setting) {
        reasons.push_back({.family = AF_INET, .ifindex = link.ifindex, .text = name_of(AF_INET, interface, setting)});
    };
    if (link.route_localnet) {
        add(link.name, "route_localnet");
    }
    // The fast path's reverse-path check drops what comes from an address of the box. Without that check nothing does.
    if (link.rp_filter || on(kernel_->rp_filter)) {
        if (link.accept_local) {
            add(link.name, "accept_local");
        } else if (on(kernel_->accept_local)) {
            add("all", "accept_local");
        }
    }
}

/// A redirect that the kernel accepts moves forwarded packets to another next hop, too, and is reported to nobody. An
/// interface that does not forward accepts them by its own setting; an IPv4 one that forwards, if `all` is set too. As
/// long as nothing is forwarded, it does not matter.
void sysctl_source::add_redirects(const link_settings &link, std::vector<policy_reason> &reasons) const
{
    const auto add = [&](std::uint8_t family) {
        reasons.push_back({.family = family,
                           .side = policy_side::out,
                           .ifindex = link.ifindex,
                           .text = name_of(family, link.name, "accept_redirects")});
    };
    const bool all4 = on(kernel_->accept_redirects4);
    const bool accepts4 = link.forwarding4 ? all4 && link.accept_redirects4 : all4 || link.accept_redirects4;
    if (accepts4 && std::ranges::any_of(links_, &link_settings::forwarding4)) {
        add(AF_INET);
    }
    const bool forwards6 = on(kernel_->forwarding6) || std::ranges::any_of(links_, &link_settings::force_forwarding6);
    if (forwards6 && !link.forwarding6 && link.accept_redirects6) {
        add(AF_INET6);
    }
}

} // namespace halfpoll
