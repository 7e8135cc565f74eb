// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "consequences.hpp"
#include "forward/events/timer_fd.hpp"
#include "forward/netlink/netlink.hpp"
#include "kernel_state.hpp"
#include "load_state.hpp"
#include "mirror_report.hpp"

#include <halfpoll/net_core.hpp>
#include <halfpoll/slow_path.hpp>

#include <set>
#include <string>

namespace halfpoll
{

/// Follows which shadows are in promiscuous mode: kernel_state::promiscuous. The kernel then takes frames to other link
/// addresses there, for a macvlan, a VLAN with an address of its own, a bridge, a capture; so the port must receive
/// them. A TAP has no list of addresses: one more address makes it promiscuous, and that without a message, also if the
/// macvlan is in another namespace. So the shadows are looked at each second, and when a link has changed.
class promiscuity_mirror
{
public:
    promiscuity_mirror(const epoll_set &events, const std::string &netns, kernel_state &state, load_state &loads,
                       net_core &core, slow_path &slow, consequences &c, mirror_report &report);

    /// Once a turn of the control loop.
    void process();
    /// True if all changes of links that were read have been followed.
    bool settled() const noexcept { return !asked_ && !loads_.links_moved; }

private:
    void take(const nlmsghdr &message);
    void apply();
    void open_filters();

    netlink_socket socket_;
    timer_fd timer_;
    kernel_state &state_;
    load_state &loads_;
    net_core &core_;
    slow_path &slow_;
    consequences &consequences_;
    mirror_report &report_;
    bool asked_ = false;                    ///< a dump is under way
    std::set<int> seen_;                    ///< promiscuous in that dump
    std::set<const net_device *> refusing_; ///< ports that did not follow, which the log has said
};

} // namespace halfpoll
