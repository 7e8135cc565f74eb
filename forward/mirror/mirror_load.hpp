// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "forward/tables/ip_prefix.hpp"

#include <halfpoll/ktime.hpp>

#include <compare>
#include <cstdint>
#include <map>
#include <set>
#include <vector>

namespace halfpoll
{

/// A dump of one kind and family.
struct table_request {
    int type;
    std::uint8_t family;
};

/// What must be dumped again because the kernel changes it without a message, or tells less than it changed.
struct stale_tables {
    bool links = false, links6 = false, routes4 = false, routes6 = false, objects = false, rules = false;
    bool any_but_links6() const noexcept { return links || routes4 || routes6 || objects || rules; }
    bool any() const noexcept { return links6 || any_but_links6(); }
};

/// What a message is about: kind of message, prefix or address, ifindex or id.
struct message_subject {
    int kind;
    ip_prefix prefix;
    std::int64_t number;
    bool operator<(const message_subject &o) const
    {
        return kind != o.kind ? kind < o.kind : number != o.number ? number < o.number : prefix < o.prefix;
    }
};

/// Dumps under way: one table after the other, over as many turns of the control loop as it takes.
struct table_load {
    std::vector<table_request> tables; ///< empty: none is under way
    std::size_t next = 0;              ///< the table that is asked for
    bool whole = false;                ///< all tables: what was lost is made good
    bool has_turn = false;    ///< the kernel gave the acknowledgement with which a load begins, if it needs one
    bool heard = false;       ///< replies came since the last look
    bool interrupted = false; ///< the kernel says so of the present dump
    bool disturbed = false;   ///< routes changed during the present dump
    unsigned attempts = 0;    ///< dumps of the present table
    ktime_t began = 0;
    /// When notifications came during the present dump: netlink_socket::reads().
    std::map<message_subject, std::uint64_t> touched;
    /// Prefixes of which the dump told something that may be older than a notification.
    std::set<ip_prefix> doubtful;
    /// If not empty, the present dump is about these prefixes alone.
    std::set<ip_prefix> only;
};

} // namespace halfpoll
