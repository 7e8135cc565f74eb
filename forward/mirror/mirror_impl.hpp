// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "consequences.hpp"
#include "egress_path.hpp"
#include "fixed_entries.hpp"
#include "forward/events/epoll_set.hpp"
#include "forward/netlink/netlink.hpp"
#include "forward/policy/policy.hpp"
#include "forward/policy/policy_watch.hpp"
#include "kernel_state.hpp"
#include "link_mirror.hpp"
#include "load_state.hpp"
#include "message_handler.hpp"
#include "mirror.hpp"
#include "mirror_adjacency.hpp"
#include "mirror_fib.hpp"
#include "mirror_ingress.hpp"
#include "mirror_report.hpp"
#include "mirror_room.hpp"
#include "multipath_mirror.hpp"
#include "neighbour_mirror.hpp"
#include "neighbour_tender.hpp"
#include "nexthop_decider.hpp"
#include "object_mirror.hpp"
#include "policy_news.hpp"
#include "promiscuity_mirror.hpp"
#include "route_mirror.hpp"
#include "route_selection.hpp"
#include "rule_mirror.hpp"
#include "stand_ins.hpp"
#include "table_loader.hpp"

#include <string>

namespace halfpoll
{

/// The parts of a mirror. Each uses only parts that stand above it, and its constructor takes them. A message goes from
/// bottom to top: from `loader` to `messages`, to the mirror of its kind, to `after`, to `fib`. Destructors run in that
/// order, too.
struct mirror::impl {
    impl(forwarder &f, slow_path &s, const std::string &netns, unsigned receive_buffer);
    void receive_until(ktime_t end);
    interface_policy policy_of(int ifindex, const link_message &link, const shadow &port, std::uint8_t family) const;

    forwarder &fwd;
    slow_path &slow;
    mirror_report report{fwd.core()};
    netlink_socket socket;
    struct reclaim_last { // after all others have given their entries back
        forwarder &fwd;
        ~reclaim_last() { fwd.reclaim(); }
    } reclaim{fwd};

    // The state of the kernel.
    kernel_state state;
    route_table routes;
    load_state loads;
    policy policies;

    // Its consequences. These objects only read it, except that `fib` keeps its next hops in `routes`.
    egress_paths egress{state, slow};
    policy_gate gate{state, policies};
    policy_news news{state, policies};
    ingress_publisher ingress{state, egress, gate, slow, fwd.interfaces()};
    fixed_entries fixed{fwd};
    adjacency_maker adjacencies{state, egress, gate};
    shared_nexthops nexthops;
    route_selection selection{state, routes, egress};
    nexthop_decider decider{state, routes, egress, selection, fixed, nexthops};
    stand_in_table stand_ins{fwd};
    fib_updater fib{fwd, routes, selection, decider, fixed, nexthops, stand_ins, slow, report};
    consequences after{state, routes, ingress, nexthops, fib, gate};

    // Its writers.
    link_mirror links{state, loads, fwd.core(), slow, after, report};
    neighbour_mirror neighbours{state, loads, slow, after};
    object_mirror objects{state, loads, after};
    rule_mirror rules{state, loads, policies, after};
    route_mirror route_messages{state, routes, loads, socket, fixed, rules, after, report};
    message_handler messages{socket, loads, links, neighbours, objects, rules, route_messages, report};

    // Driven by the socket and by timers.
    epoll_set events;
    policy_watch watch;
    multipath_mirror multipath;
    table_loader loader{events, socket, state, loads, routes, messages, report};
    neighbour_tender tender{events, socket, state, egress, fwd.nexthops(), nexthops, report};
    promiscuity_mirror promiscuity;
    room_keeper room{events, stand_ins, nexthops, fib, report};
};

} // namespace halfpoll
