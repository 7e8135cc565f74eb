// SPDX-License-Identifier: BSD-3-Clause
#include "multipath_mirror.hpp"

namespace halfpoll
{

/// A kernel that lacks the settings chooses by addresses. One with a kind of its own, that is not known here, would
/// most probably look at ports, too.
multipath_policy multipath_mirror::family::read() const noexcept
{
    multipath_policy now;
    const int kind = policy.read().value_or(0);
    now.kind = kind >= 0 && kind <= static_cast<int>(multipath_kind::custom) ? static_cast<multipath_kind>(kind)
                                                                             : multipath_kind::l4;
    if (now.kind == multipath_kind::custom) {
        now.fields = static_cast<std::uint16_t>(fields.read().value_or(0) & multipath_policy::every_field);
    }
    return now;
}

multipath_mirror::multipath_mirror(nexthop_table &table, const std::string &netns)
    : table_(table), ip4_{{netns, "ipv4/fib_multipath_hash_policy"}, {netns, "ipv4/fib_multipath_hash_fields"}},
      ip6_{{netns, "ipv6/fib_multipath_hash_policy"}, {netns, "ipv6/fib_multipath_hash_fields"}}
{
    look();
}

void multipath_mirror::process()
{
    if (ktime_get() >= next_) {
        look();
    }
}

void multipath_mirror::look()
{
    table_.set_multipath4(ip4_.read());
    table_.set_multipath6(ip6_.read());
    next_ = ktime_get() + NSEC_PER_SEC;
}

} // namespace halfpoll
