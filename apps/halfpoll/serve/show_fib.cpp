// SPDX-License-Identifier: BSD-3-Clause
#include "serve.hpp"
#include "show_tables.hpp"

#include "forward/tables/ip_text.hpp"

#include <algorithm>
#include <cmath>
#include <map>

namespace halfpoll
{

namespace
{

using nlohmann::json;

const char *text_of(adjacency_kind kind)
{
    switch (kind) {
    case adjacency_kind::forward:
        return "forward";
    case adjacency_kind::punt:
        return "punt";
    case adjacency_kind::group:
        return "group";
    case adjacency_kind::drop:
        break;
    }
    return "drop";
}

/// Finds the entry of the FIB for exactly this prefix; returns false if there is none.
bool find_in_fib(router &r, const ip_prefix &prefix, std::uint32_t &nexthop)
{
    return prefix.addr.family == AF_INET ? r.fwd().routes4().find(to_ipv4(prefix.addr.bytes), prefix.len, nexthop)
                                         : r.fwd().routes6().find(prefix.addr.bytes, prefix.len, nexthop);
}

std::uint32_t look_up(router &r, const ip_addr &addr)
{
    return addr.family == AF_INET ? r.fwd().routes4().lookup(to_ipv4(addr.bytes))
                                  : r.fwd().routes6().lookup(addr.bytes);
}

/// Returns the longest prefix in the FIB that covers an address; "none": the default next hop applies.
std::string matching_prefix(router &r, const ip_addr &addr)
{
    for (unsigned len = address_bits(addr.family) + 1; len-- > 0;) {
        std::uint32_t nexthop = 0;
        if (const ip_prefix prefix = make_prefix(addr, len); find_in_fib(r, prefix, nexthop)) {
            return to_string(prefix);
        }
    }
    return "none";
}

/// Returns the members of a group, with the percentage of its flows that each gets.
json member_rows(router &r, const nexthop_group &group)
{
    std::map<std::uint32_t, double> buckets;
    for (const std::uint32_t member : group.buckets) {
        ++buckets[member];
    }
    json rows = json::array();
    for (const std::uint32_t member : group.members) {
        json row = nexthop_row(r, member);
        row["share"] = std::round(buckets[member] * 1000 / static_cast<double>(group.buckets.size())) / 10;
        rows.push_back(row);
    }
    return rows;
}

} // namespace

json nexthop_row(router &r, std::uint32_t index)
{
    json row = {{"nexthop", index}};
    const adjacency *adj = r.fwd().nexthops().get(index);
    if (!adj) {
        return row;
    }
    row["kind"] = text_of(adj->kind);
    if (const net_device *dev = adj->ifindex ? r.core().dev_get(adj->ifindex) : nullptr) {
        row["dev"] = dev->name;
    }
    if (adj->kind == adjacency_kind::group) {
        row["members"] = member_rows(r, *adj->group);
    } else if (adj->kind == adjacency_kind::forward) {
        row["lladdr"] = lladdr_text(*reinterpret_cast<const rte_ether_addr *>(adj->rewrite));
        row["mtu"] = adj->mtu;
    } else if (adj->kind == adjacency_kind::punt) {
        row["why"] = to_string(static_cast<punt_class>(adj->punt));
    } else {
        row["why"] = drop_reason_name(adj->drop);
    }
    return row;
}

json show_fib(router &r, const show_filter &filter)
{
    const dev_filter dev(r, filter.dev);
    // The mirror provides the order of the prefixes, the FIB their next hops.
    json reply = page_of_prefixes(r, filter, "fib", [&](json &rows, const ip_prefix &prefix, auto, std::uint32_t) {
        std::uint32_t nexthop = 0;
        if (!find_in_fib(r, prefix, nexthop)) {
            return;
        }
        if (!dev.takes(r, nexthop)) {
            return;
        }
        json row = nexthop_row(r, nexthop);
        row["prefix"] = to_string(prefix);
        rows.push_back(std::move(row));
    });
    reply["routes4"] = r.fwd().routes4().size();
    reply["routes6"] = r.fwd().routes6().size();
    return reply;
}

json lookup_row(router &r, const ip_addr &addr)
{
    json row = nexthop_row(r, look_up(r, addr));
    row["to"] = to_string(addr);
    row["prefix"] = matching_prefix(r, addr);
    return row;
}

} // namespace halfpoll
