// SPDX-License-Identifier: BSD-3-Clause
#include "show_tables.hpp"

#include "forward/tables/ip_text.hpp"

#include <charconv>
#include <map>

namespace halfpoll
{

namespace
{

using nlohmann::json;

std::uint32_t first_index(const show_filter &filter)
{
    std::uint32_t first = 0;
    const char *end = filter.from.data() + filter.from.size();
    if (!filter.from.empty() && std::from_chars(filter.from.data(), end, first).ptr != end) {
        throw error("bad request: \"from\" is not a number");
    }
    return first;
}

struct sharing {
    ip_addr gateway;
    std::uint32_t users = 0;
};

} // namespace

json show_nexthop(router &r, const show_filter &filter)
{
    const dev_filter dev(r, filter.dev);
    const bool by_gateway = filter.address || filter.prefix;
    std::map<std::uint32_t, sharing> shared;
    r.kernel().visit_nexthops([&](std::uint32_t index, const nexthop_key *hop, std::uint32_t users) {
        shared[index] = {hop ? hop->gateway : ip_addr{}, users};
    });
    json rows = json::array();
    json reply = json::object();
    const adjacency *unused = r.fwd().nexthops().get(nexthop_table::no_route);
    for (std::uint32_t index = first_index(filter); index < nexthop_table::max_nexthops; ++index) {
        const adjacency *adj = r.fwd().nexthops().get(index);
        const auto use = shared.find(index);
        // An unused slot has the same adjacency as slot `no_route`.
        if (!adj || (index != nexthop_table::no_route && adj == unused) || !dev.takes(r, index) ||
            (by_gateway && (use == shared.end() || !filter.takes(use->second.gateway)))) {
            continue;
        }
        if (rows.size() >= filter.rows) {
            reply["next"] = std::to_string(index);
            break;
        }
        json row = nexthop_row(r, index);
        if (use != shared.end()) {
            row["users"] = use->second.users;
            if (use->second.gateway.family != AF_UNSPEC) {
                row["via"] = to_string(use->second.gateway);
            }
        }
        rows.push_back(std::move(row));
    }
    reply["nexthop"] = std::move(rows);
    return reply;
}

} // namespace halfpoll
