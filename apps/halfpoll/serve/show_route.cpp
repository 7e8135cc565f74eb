// SPDX-License-Identifier: BSD-3-Clause
#include "show_tables.hpp"

#include "forward/tables/ip_text.hpp"

#include <cstdio>
#include <linux/rtnetlink.h>

namespace halfpoll
{

namespace
{

using nlohmann::json;

std::string type_text(std::uint8_t type)
{
    static constexpr const char *names[] = {"unspec",    "unicast",   "local",       "broadcast", "anycast",
                                            "multicast", "blackhole", "unreachable", "prohibit",  "throw"};
    return type < std::size(names) ? names[type] : std::to_string(type);
}

std::string table_text(std::uint32_t table)
{
    return table == RT_TABLE_MAIN ? "main" : table == RT_TABLE_LOCAL ? "local" : std::to_string(table);
}

std::string tos_text(std::uint8_t tos)
{
    char text[8];
    std::snprintf(text, sizeof text, "0x%02x", unsigned{tos});
    return text;
}

json route_row(const ip_prefix &prefix, const kernel_route &route)
{
    json row = {{"prefix", to_string(prefix)},
                {"type", type_text(route.type)},
                {"table", table_text(route.table)},
                {"metric", route.metric}};
    if (route.tos != 0) {
        row["tos"] = tos_text(route.tos);
    }
    if (route.from.len != 0) {
        row["from"] = to_string(route.from);
    }
    if (route.mtu != 0) {
        row["mtu"] = route.mtu;
    }
    if (route.nhid != 0) {
        row["nhid"] = route.nhid;
    }
    return row;
}

json hop_row(router &r, const ip_prefix &prefix, const kernel_route &route, const route_hop &hop)
{
    json row = route_row(prefix, route);
    if (hop.gateway.family != AF_UNSPEC) {
        row["via"] = to_string(hop.gateway);
    }
    if (const shadow *s = r.slow().of_kernel_ifindex(hop.oif)) {
        row["dev"] = s->dev->name;
        row["shadow"] = s->name;
    }
    if (route.hops.size() > 1) {
        row["weight"] = hop.weight;
    }
    return row;
}

} // namespace

json show_route(router &r, const show_filter &filter)
{
    if (filter.address) {
        return {{"route", json::array({lookup_row(r, *filter.address)})}};
    }
    const dev_filter dev(r, filter.dev);
    return page_of_prefixes(r, filter, "route", [&](json &rows, const ip_prefix &prefix, auto routes, std::uint32_t) {
        for (const kernel_route &route : routes) {
            if (route.hops.empty() && !dev.wanted) { // an `ip nexthop` object; `show fib` shows its members
                rows.push_back(route_row(prefix, route));
            }
            for (const route_hop &hop : route.hops) {
                const shadow *s = r.slow().of_kernel_ifindex(hop.oif);
                if (dev.takes(s ? s->dev : nullptr)) {
                    rows.push_back(hop_row(r, prefix, route, hop));
                }
            }
        }
    });
}

} // namespace halfpoll
