// SPDX-License-Identifier: BSD-3-Clause
#include "serve.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <cmath>
#include <map>

namespace halfpoll
{

namespace
{

using nlohmann::json;

std::string text_of(std::uint32_t addr)
{
    char text[INET_ADDRSTRLEN];
    const in_addr net{htonl(addr)};
    return inet_ntop(AF_INET, &net, text, sizeof text);
}

std::string text_of(const ip6_addr &addr)
{
    char text[INET6_ADDRSTRLEN];
    return inet_ntop(AF_INET6, addr.data(), text, sizeof text);
}

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

json nexthop_row(forwarder &fwd, std::uint32_t index);

/// Members of a group, with the percentage of its flows that each takes.
json member_rows(forwarder &fwd, const nexthop_group &group)
{
    std::map<std::uint32_t, double> buckets;
    for (const std::uint32_t member : group.buckets) {
        ++buckets[member];
    }
    json rows = json::array();
    for (const std::uint32_t member : group.members) {
        json row = nexthop_row(fwd, member);
        row["share"] = std::round(buckets[member] * 1000 / static_cast<double>(group.buckets.size())) / 10;
        rows.push_back(row);
    }
    return rows;
}

/// Where packets of a prefix go. Only the control thread replaces adjacencies, so they stay while it looks.
json nexthop_row(forwarder &fwd, std::uint32_t index)
{
    json row = {{"nexthop", index}};
    const adjacency *adj = fwd.nexthops().get(index);
    if (!adj) {
        return row;
    }
    row["kind"] = text_of(adj->kind);
    if (const net_device *dev = fwd.core().dev_get(adj->ifindex)) {
        row["dev"] = dev->name;
    }
    if (adj->kind == adjacency_kind::group) {
        row["members"] = member_rows(fwd, *adj->group);
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

/// The first `limit` prefixes in order; of a larger table, those that come first.
template <typename Addr, typename Fib>
void add_routes(forwarder &fwd, const Fib &fib, std::size_t limit, json &rows)
{
    struct route {
        Addr addr;
        unsigned len;
        std::uint32_t nexthop;
        bool operator<(const route &other) const { return std::tie(addr, len) < std::tie(other.addr, other.len); }
    };
    std::vector<route> routes;
    fib.for_each([&](const Addr &addr, unsigned len, std::uint32_t nexthop) {
        routes.push_back({addr, len, nexthop});
    });
    const std::size_t shown = std::min(limit, routes.size());
    std::partial_sort(routes.begin(), routes.begin() + static_cast<std::ptrdiff_t>(shown), routes.end());
    for (std::size_t i = 0; i < shown; ++i) {
        json row = nexthop_row(fwd, routes[i].nexthop);
        row["prefix"] = text_of(routes[i].addr) + "/" + std::to_string(routes[i].len);
        rows.push_back(row);
    }
}

/// The longest prefix of an address that is in the table with what the lookup found; empty: none.
template <typename Addr, typename Fib>
std::string matching_prefix(const Fib &fib, const Addr &addr, unsigned bits)
{
    for (unsigned len = bits + 1; len-- > 0;) {
        std::uint32_t nexthop = 0;
        if (fib.find(addr, len, nexthop)) {
            return std::to_string(len);
        }
    }
    return "";
}

template <typename Addr, typename Fib>
json route_row(forwarder &fwd, const Fib &fib, const Addr &addr, unsigned bits)
{
    json row = nexthop_row(fwd, fib.lookup(addr));
    const std::string len = matching_prefix(fib, addr, bits);
    row["to"] = text_of(addr);
    row["prefix_length"] = len.empty() ? json("none") : json(std::stoi(len));
    return row;
}

} // namespace

json show_fib(router &r, std::size_t limit)
{
    json rows = json::array();
    add_routes<std::uint32_t>(r.fwd(), r.fwd().routes4(), limit, rows);
    add_routes<ip6_addr>(r.fwd(), r.fwd().routes6(), limit, rows);
    return {{"routes4", r.fwd().routes4().size()},
            {"routes6", r.fwd().routes6().size()},
            {"shown", rows.size()},
            {"fib", rows}};
}

json show_route(router &r, const std::string &address)
{
    in_addr v4;
    ip6_addr v6;
    if (inet_pton(AF_INET, address.c_str(), &v4) == 1) {
        return {{"route", json::array({route_row<std::uint32_t>(r.fwd(), r.fwd().routes4(), ntohl(v4.s_addr), 32)})}};
    }
    if (inet_pton(AF_INET6, address.c_str(), v6.data()) == 1) {
        return {{"route", json::array({route_row<ip6_addr>(r.fwd(), r.fwd().routes6(), v6, 128)})}};
    }
    throw error("\"" + address + "\" is not an IPv4 or IPv6 address");
}

} // namespace halfpoll
