// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "forward/events/epoll_set.hpp"
#include "forward/netlink/link_settings.hpp"
#include "forward/netlink/netlink.hpp"
#include "forward/netlink/sysctl_file.hpp"
#include "policy_source.hpp"

#include <halfpoll/ktime.hpp>

#include <optional>
#include <string>
#include <vector>

namespace halfpoll
{

class policy;
struct policy_reason;

/// Settings (sysctl) with which the kernel forwards otherwise than the fast path; docs/following-the-kernel.md has the
/// list. The kernel reports no change of them. Those of interfaces come with a dump of the links, which is requested
/// every second, and another millisecond later for each interface. There is no timer for that: the mirror, which reads
/// the IPv6 settings of links as often, wakes the control loop.
class sysctl_source final : public policy_source
{
public:
    sysctl_source(policy &policies, const epoll_set &events, const std::string &netns);
    void process() override;

private:
    /// Where the settings are read: a socket for those of interfaces, and files.
    struct kernel {
        kernel(const epoll_set &events, const std::string &netns);
        netlink_socket socket;
        sysctl_file use_pmtu;
        sysctl_file route_localnet, accept_local, accept_redirects4, rp_filter; ///< net.ipv4.conf.all
        sysctl_file forwarding6, proxy_ndp;                                     ///< net.ipv6.conf.all
    };
    void request();
    void take(const nlmsghdr &message);
    void doubt(const std::string &why);
    void inspected();
    void add_global(std::vector<policy_reason> &reasons) const;
    void add_of_link(const link_settings &link, std::vector<policy_reason> &reasons) const;
    void add_redirects(const link_settings &link, std::vector<policy_reason> &reasons) const;

    policy &policies_;
    ktime_t next_ = 0;                 ///< time of the next dump
    std::optional<kernel> kernel_;     ///< none: it could not be opened, which is a doubt
    std::vector<link_settings> links_; ///< of the dump under way
};

} // namespace halfpoll
