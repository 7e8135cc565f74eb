// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "consequences.hpp"
#include "kernel_state.hpp"
#include "load_state.hpp"
#include "mirror_report.hpp"

#include <halfpoll/net_core.hpp>
#include <halfpoll/slow_path.hpp>

#include <string>

namespace halfpoll
{

/// Follows interfaces and their settings: links, links6, netconf and dead_links of the kernel_state.
class link_mirror
{
public:
    link_mirror(kernel_state &state, load_state &loads, net_core &core, slow_path &slow, consequences &c,
                mirror_report &report)
        : state_(state), loads_(loads), core_(core), slow_(slow), consequences_(c), report_(report)
    {
    }

    void apply(const link_message &message);
    void forget(int ifindex);
    void apply(const link6_message &message);
    void forget6(int ifindex) { state_.links6.erase(ifindex); }
    /// RTM_NEWNETCONF, RTM_DELNETCONF.
    void apply_netconf(const nlmsghdr &message);
    /// mirror::device_changed().
    void device_changed(const net_device &dev);
    /// Looks at the shadows that are in another namespace, of which no message tells.
    void look_at_moved();
    /// Forgets the links that the present dump did not show.
    void sweep();

private:
    void look_at(shadow &s);
    shadow *shadow_of(const link_message &message);
    void mark_stale(const link_message &before, const link_message &now);
    void adopt(shadow &s, const link_message &before, const link_message &now);
    void set_back(shadow &s, const link_message &refused, const std::string &why);
    void carrier_changed(int ifindex);

    kernel_state &state_;
    load_state &loads_;
    net_core &core_;
    slow_path &slow_;
    consequences &consequences_;
    mirror_report &report_;
};

} // namespace halfpoll
