// SPDX-License-Identifier: BSD-3-Clause
#include "show_tables.hpp"

#include "forward/tables/ip_text.hpp"

#include <algorithm>
#include <cstdio>

namespace halfpoll
{

using nlohmann::json;

std::string lladdr_text(const rte_ether_addr &lladdr)
{
    char text[18];
    const std::uint8_t *b = lladdr.addr_bytes;
    std::snprintf(text, sizeof text, "%02x:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3], b[4], b[5]);
    return text;
}

dev_filter::dev_filter(router &r, const std::string &name)
{
    if (name.empty()) {
        return;
    }
    for (net_device *dev : r.core().devices()) {
        const shadow *s = r.slow().of_device(*dev);
        if (dev->name == name || (s && s->name == name)) {
            wanted = dev;
        }
    }
    if (!wanted) {
        throw error("no port or shadow is called \"" + name + "\" (halfpoll show interfaces)");
    }
}

bool dev_filter::takes(router &r, std::uint32_t nexthop) const
{
    const adjacency *adj = r.fwd().nexthops().get(nexthop);
    if (!wanted || !adj) {
        return !wanted;
    }
    return adj->kind == adjacency_kind::group
               ? std::ranges::any_of(adj->group->members, [&](std::uint32_t member) { return takes(r, member); })
               : adj->ifindex == wanted->ifindex;
}

namespace
{

/// Visits the prefixes that cover an address, by one look-up for each prefix length.
void visit_covering(const mirror &kernel, const ip_addr &addr, const mirror::route_visitor &fn)
{
    for (unsigned len = 0; len <= address_bits(addr.family); ++len) {
        const ip_prefix wanted = make_prefix(addr, len);
        kernel.visit_routes(wanted, [&](const ip_prefix &prefix, auto routes, std::uint32_t nexthop) {
            return prefix == wanted && fn(prefix, routes, nexthop) && false;
        });
    }
}

ip_prefix first_of_page(const show_filter &filter)
{
    if (filter.from.empty()) {
        return filter.prefix.value_or(ip_prefix{});
    }
    const auto prefix = parse_prefix(filter.from);
    if (!prefix) {
        throw error("bad request: \"from\" is not a prefix");
    }
    return *prefix;
}

} // namespace

json page_of_prefixes(router &r, const show_filter &filter, const std::string &key, const prefix_rows &add)
{
    json rows = json::array();
    json reply = json::object();
    std::size_t visits = 0;
    const auto visit = [&](const ip_prefix &prefix, std::span<const kernel_route> routes, std::uint32_t nexthop) {
        if (filter.prefix && !covers(*filter.prefix, prefix)) {
            return false;
        }
        if (rows.size() >= filter.rows || ++visits > PAGE_VISITS) {
            reply["next"] = to_string(prefix);
            return false;
        }
        add(rows, prefix, routes, nexthop);
        return true;
    };
    if (filter.address) {
        visit_covering(r.kernel(), *filter.address, visit);
    } else {
        r.kernel().visit_routes(first_of_page(filter), visit);
    }
    reply[key] = std::move(rows);
    return reply;
}

} // namespace halfpoll
