// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "forward/events/timer_fd.hpp"
#include "forward/netlink/netlink.hpp"
#include "kernel_state.hpp"
#include "load_state.hpp"
#include "message_handler.hpp"
#include "mirror_report.hpp"
#include "mirror_routes.hpp"

namespace halfpoll
{

/// Decides which tables are dumped, and when, and sorts the replies from the notifications. Nothing here waits:
/// requests are sent, and mirror::process() passes the replies on.
class table_loader
{
public:
    table_loader(const epoll_set &events, netlink_socket &socket, const kernel_state &state, load_state &loads,
                 route_table &routes, message_handler &messages, mirror_report &report);

    /// Once a turn of the control loop, before the socket is read.
    void process_timers();
    void take(const nlmsghdr &message);
    /// Begins to dump the stale tables. Returns false if none is stale, or if it is too early.
    bool begin_load_if_due();
    /// Messages were lost: all tables are stale.
    void messages_lost() noexcept { loads_.lost_messages = true; }
    /// Makes a load of all tables due at once.
    void demand_load() noexcept;
    /// Number of consecutive loads that failed.
    unsigned failed_loads() const noexcept { return failed_loads_; }
    /// mirror::settled().
    bool settled() const;

private:
    void look_at_links6();
    void look_after_load();
    void end_load(bool complete);
    void request_table(bool united);
    void answered(int errnum);
    void table_read();
    void mark_doubtful(const table_request &table);

    netlink_socket &socket_;
    const kernel_state &state_;
    load_state &loads_;
    table_load &load_; ///< loads_.load
    route_table &routes_;
    message_handler &messages_;
    mirror_report &report_;
    timer_fd load_timer_;    ///< beginning of the next load, or stall of the present one
    timer_fd link6_timer_;   ///< look_at_links6()
    ktime_t load_after_ = 0; ///< the next load does not begin earlier
    unsigned failed_loads_ = 0;
};

} // namespace halfpoll
