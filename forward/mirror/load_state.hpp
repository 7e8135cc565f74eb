// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "forward/netlink/netlink.hpp"
#include "forward/tables/ip_prefix.hpp"

#include <halfpoll/ktime.hpp>

#include <compare>
#include <cstdint>
#include <map>
#include <set>
#include <vector>

namespace halfpoll
{

/// A dump of one message type and family.
struct table_request {
    int type;
    std::uint8_t family;
};

/// Tables that must be dumped again because the kernel changes them without a message, or with a message that does not
/// cover the whole change.
struct stale_tables {
    bool links = false, links6 = false, routes4 = false, routes6 = false, objects = false, rules = false;
    bool any_but_links6() const noexcept { return links || routes4 || routes6 || objects || rules; }
    bool any() const noexcept { return links6 || any_but_links6(); }
};

/// The subject of a message: kind of message, prefix or address, ifindex or id.
struct message_subject {
    int kind;
    ip_prefix prefix;
    std::int64_t number;
    bool operator<(const message_subject &o) const
    {
        return kind != o.kind ? kind < o.kind : number != o.number ? number < o.number : prefix < o.prefix;
    }
};

/// A load under way: one table after the other, over as many turns of the control loop as it takes.
struct table_load {
    std::vector<table_request> tables; ///< empty: no load is under way
    std::size_t next = 0;              ///< index of the table that is requested
    bool whole = false;                ///< all tables, since messages were lost
    bool has_turn = false;    ///< the kernel sent the acknowledgement that precedes a load, or the load needs none
    bool heard = false;       ///< a reply came since the last check
    bool interrupted = false; ///< NLM_F_DUMP_INTR was set in the present dump
    bool disturbed = false;   ///< routes changed during the present dump
    unsigned attempts = 0;    ///< number of dumps of the present table
    ktime_t began = 0;
    /// For each subject of a notification during the present dump: netlink_socket::reads() at its arrival.
    std::map<message_subject, std::uint64_t> touched;
    /// Prefixes for which the dump showed an entry that may be older than a notification.
    std::set<ip_prefix> doubtful;
    /// If not empty, the present dump counts for these prefixes only.
    std::set<ip_prefix> only;
};

/// The tables that are due for a dump, and the progress of the present load. table_loader runs loads; message_handler,
/// link_mirror, object_mirror and route_mirror mark tables as stale, and route_mirror marks prefixes as doubtful.
struct load_state {
    stale_tables stale;
    bool lost_messages = false; ///< all tables are stale
    table_load load;
    std::uint32_t generation = 0;                ///< number of the present dump; the entries that it shows get it
    bool dead_hops4 = false, dead_hops6 = false; ///< dead next hops were seen since the last dump

    bool links_moved = true; ///< a link came, went or changed since promiscuity_mirror looked

    bool loading() const noexcept { return !load.tables.empty(); }
    /// Returns false for a dump entry that may be older than a notification about the same subject. Records when
    /// notifications arrive.
    bool is_newest(const netlink_socket &socket, const nlmsghdr &message, const ip_prefix &prefix, std::int64_t number);
};

} // namespace halfpoll
