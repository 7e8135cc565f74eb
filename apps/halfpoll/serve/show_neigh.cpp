// SPDX-License-Identifier: BSD-3-Clause
#include "serve.hpp"
#include "show_tables.hpp"

#include "forward/tables/ip_text.hpp"

namespace halfpoll
{

namespace
{

using nlohmann::json;

json neigh_row(router &r, const ip_addr &addr, int kernel_ifindex, const rte_ether_addr &mac)
{
    json row = {{"address", to_string(addr)}, {"lladdr", lladdr_text(mac)}, {"kernel_ifindex", kernel_ifindex}};
    if (const shadow *s = r.slow().of_kernel_ifindex(kernel_ifindex)) {
        row["dev"] = s->dev->name;
        row["shadow"] = s->name;
    }
    return row;
}

} // namespace

json show_neigh(router &r, const show_filter &filter)
{
    const dev_filter dev(r, filter.dev);
    const ip_addr first = parse_address(filter.from).value_or(ip_addr{});
    json rows = json::array();
    json reply = json::object();
    ip_addr last;
    r.kernel().visit_neighbours([&](const ip_addr &addr, int kernel_ifindex, const rte_ether_addr &mac) {
        const shadow *s = r.slow().of_kernel_ifindex(kernel_ifindex);
        if (reply.contains("next") || addr < first || !filter.takes(addr) || !dev.takes(s ? s->dev : nullptr)) {
            return;
        }
        if (rows.size() >= filter.rows && addr != last) { // one address's rows stay on one page
            reply["next"] = to_string(addr);
            return;
        }
        last = addr;
        rows.push_back(neigh_row(r, addr, kernel_ifindex, mac));
    });
    reply["neigh"] = std::move(rows);
    return reply;
}

} // namespace halfpoll
