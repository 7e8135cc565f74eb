// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "forward/events/timer_fd.hpp"
#include "forward/netlink/sysctl_file.hpp"
#include "forward/tables/nexthop.hpp"

#include <string>

namespace halfpoll
{

/// Follows fib_multipath_hash_policy and fib_multipath_hash_fields of both families: reads them every second.
class multipath_mirror
{
public:
    /// Throws `error`.
    multipath_mirror(const epoll_set &events, nexthop_table &table, const std::string &netns);
    /// Once a turn of the control loop.
    void process();

private:
    struct family {
        sysctl_file policy, fields;
        multipath_policy read() const noexcept;
    };
    void look();

    nexthop_table &table_;
    const family ip4_, ip6_;
    timer_fd timer_;
};

} // namespace halfpoll
