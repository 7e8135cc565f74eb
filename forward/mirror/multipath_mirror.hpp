// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "forward/netlink/sysctl_file.hpp"
#include "forward/tables/nexthop.hpp"

#include <halfpoll/ktime.hpp>

#include <string>

namespace halfpoll
{

/// Follows fib_multipath_hash_policy and fib_multipath_hash_fields of both families: reads them every second. It has no
/// timer of its own, since table_loader wakes the control loop as often.
class multipath_mirror
{
public:
    /// Throws `error`.
    multipath_mirror(nexthop_table &table, const std::string &netns);
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
    ktime_t next_ = 0; ///< time of the next look
};

} // namespace halfpoll
