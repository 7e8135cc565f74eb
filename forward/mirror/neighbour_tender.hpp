// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "egress_path.hpp"
#include "forward/events/timer_fd.hpp"
#include "forward/netlink/netlink.hpp"
#include "kernel_state.hpp"
#include "mirror_nexthops.hpp"
#include "mirror_report.hpp"

namespace halfpoll
{

/// Keeps the neighbours that the data path uses fresh in the kernel.
class neighbour_tender
{
public:
    neighbour_tender(const epoll_set &events, netlink_socket &socket, kernel_state &state, const egress_paths &egress,
                     nexthop_table &table, shared_nexthops &nexthops, mirror_report &report);

    /// Once a turn of the control loop: tend(), if it is time to.
    void process();
    void tend();

private:
    timer_fd timer_; ///< tend()
    netlink_socket &socket_;
    neighbour_map &neighbours_;
    const egress_paths &egress_;
    nexthop_table &table_;
    shared_nexthops &nexthops_;
    mirror_report &report_;
    nexthop_key tended_; ///< the next hop at which tend() stopped
};

} // namespace halfpoll
