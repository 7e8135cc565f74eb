// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "test_netns.hpp"

#include "forward/packet/forwarder.hpp"
#include "forward/tables/ip_prefix.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <arpa/inet.h>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

namespace halfpoll::test
{

inline std::optional<ip_addr> to_addr(const std::string &text)
{
    ip_addr addr{static_cast<std::uint8_t>(text.find(':') == std::string::npos ? AF_INET : AF_INET6), {}};
    return inet_pton(addr.family, text.c_str(), addr.bytes.data()) == 1 ? std::optional(addr) : std::nullopt;
}

inline std::string to_text(const ip_prefix &prefix)
{
    char text[INET6_ADDRSTRLEN];
    inet_ntop(prefix.addr.family, prefix.addr.bytes.data(), text, sizeof text);
    return std::string(text) + "/" + std::to_string(prefix.len);
}

/// "group(a | b)", members sorted.
inline std::string group_text(const std::set<std::string> &members)
{
    std::string text;
    for (const std::string &member : members) {
        text += (text.empty() ? "group(" : " | ") + member;
    }
    return text + ")";
}

/// One line that describes a next hop: "punt local", "drop", "port0 02:…:01 mtu 1500", or a group of those.
inline std::string to_text(const nexthop_table &table, const adjacency &a)
{
    if (a.kind == adjacency_kind::group) {
        std::set<std::string> members;
        for (const std::uint32_t index : a.group->members) {
            members.insert(to_text(table, *table.get(index)));
        }
        return group_text(members);
    }
    if (a.kind == adjacency_kind::punt) {
        return std::string("punt ") + to_string(static_cast<punt_class>(a.punt));
    }
    if (a.kind == adjacency_kind::drop) {
        return std::string("drop ") + drop_reason_name(a.drop);
    }
    char mac[RTE_ETHER_ADDR_FMT_SIZE];
    rte_ether_addr dst;
    std::copy_n(a.rewrite, sizeof dst.addr_bytes, dst.addr_bytes);
    rte_ether_format_addr(mac, sizeof mac, &dst);
    std::ranges::transform(mac, mac, [](unsigned char c) { return std::tolower(c); });
    return a.dev->name + " " + mac + " mtu " + std::to_string(a.mtu);
}

using fib_text = std::map<ip_prefix, std::string>;

/// Text of the forwarder's present tables.
inline fib_text actual_fib(forwarder &fwd)
{
    fib_text all;
    fwd.routes4().for_each([&](std::uint32_t addr, unsigned len, std::uint32_t nexthop) {
        const std::uint32_t network_order = htonl(addr);
        ip_addr a{AF_INET, {}};
        std::memcpy(a.bytes.data(), &network_order, sizeof network_order);
        all[{a, static_cast<std::uint8_t>(len)}] = to_text(fwd.nexthops(), *fwd.nexthops().get(nexthop));
    });
    fwd.routes6().for_each([&](const ip6_addr &addr, unsigned len, std::uint32_t nexthop) {
        all[{{AF_INET6, addr}, static_cast<std::uint8_t>(len)}] = to_text(fwd.nexthops(), *fwd.nexthops().get(nexthop));
    });
    return all;
}

/// The tables that the forwarder should hold, derived from `ip -json` alone by an independent implementation of the
/// same rules.
class fib_expectation
{
public:
    /// Shadow interface name -> device.
    using shadow_map = std::map<std::string, const net_device *>;

    fib_expectation(const test_netns &netns, const shadow_map &shadows) : shadows_(shadows)
    {
        for (const auto &link : json(netns, "link show")) {
            const auto &flags = link["flags"];
            links_[link["ifname"]] = {std::ranges::find(flags, "UP") != flags.end(), link["mtu"]};
        }
        for (const auto &entry : json(netns, "neigh show")) {
            const auto addr = to_addr(entry["dst"]);
            if (addr && entry.contains("lladdr") && entry["state"][0] != "FAILED" &&
                entry["state"][0] != "INCOMPLETE") {
                neighbours_[{*addr, entry["dev"]}] = entry["lladdr"];
            }
        }
        for (const std::string family : {"-4", "-6"}) {
            for (const auto &entry : json(netns, family + " -d route show table all")) {
                add_route(entry, family == "-4" ? AF_INET : AF_INET6);
            }
        }
        for (auto &[prefix, routes] : routes_) {
            drop_dead(routes);
        }
        std::erase_if(routes_, [](const auto &entry) { return entry.second.empty(); });
    }

    fib_text fib() const
    {
        fib_text all;
        for (const auto &[prefix, routes] : routes_) {
            all[prefix] = of_routes(prefix, routes);
        }
        for (const auto &[key, mac] : neighbours_) {
            add_neighbour(all, key.first, key.second);
        }
        for (const std::uint8_t family : default_table_) { // what no prefix covers may have a route there
            all.try_emplace({{family, {}}, 0}, "punt kernel");
        }
        all[parse("224.0.0.0/4", AF_INET)] = "punt control";
        all[parse("ff00::/8", AF_INET6)] = "punt control";
        all[parse("fe80::/10", AF_INET6)] = "punt local";
        return all;
    }

private:
    struct hop {
        std::string dev;
        std::optional<ip_addr> gateway;
        bool dead = false; ///< the kernel does not use it
    };
    struct route {
        bool main = true;
        std::uint32_t metric = 0;
        std::string type;
        std::uint32_t mtu = 0;
        std::vector<hop> hops;
        bool special = false; ///< depends on the TOS or the source of a packet, so that the kernel decides
    };

    static nlohmann::json json(const test_netns &netns, const std::string &arguments)
    {
        const std::string text = netns.ip("-j " + arguments);
        return text.empty() ? nlohmann::json::array() : nlohmann::json::parse(text);
    }

    static ip_prefix parse(const std::string &text, std::uint8_t family)
    {
        if (text == "default") {
            return {{family, {}}, 0};
        }
        const auto slash = text.find('/');
        const ip_addr addr = to_addr(text.substr(0, slash)).value();
        return make_prefix(addr,
                           slash == std::string::npos ? address_bits(family) : std::stoul(text.substr(slash + 1)));
    }

    static bool fixed(const ip_prefix &p)
    {
        return covers(parse("224.0.0.0/4", AF_INET), p) || covers(parse("ff00::/8", AF_INET6), p) ||
               covers(parse("fe80::/10", AF_INET6), p);
    }

    static std::optional<ip_addr> gateway_of(const nlohmann::json &j)
    {
        return j.contains("gateway") ? to_addr(j["gateway"])
               : j.contains("via")   ? to_addr(j["via"]["host"])
                                     : std::nullopt;
    }

    void add_route(const nlohmann::json &j, std::uint8_t family)
    {
        const std::string table = j.value("table", "main");
        const ip_prefix prefix = parse(j["dst"], family);
        if (table == "default" && family == AF_INET) {
            default_table_.insert(family);
        }
        if ((table != "main" && table != "local") || fixed(prefix)) {
            return;
        }
        route r{table == "main", j.value("metric", 0U), j.value("type", "unicast"), 0, {}};
        r.special = j.contains("tos") || j.contains("from");
        for (const auto &metric : j.value("metrics", nlohmann::json::array())) {
            r.mtu = metric.value("mtu", r.mtu);
        }
        for (const auto &h : j.value("nexthops", nlohmann::json::array({j}))) {
            const auto flags = h.value("flags", nlohmann::json::array());
            r.hops.push_back({h.value("dev", ""), gateway_of(h), std::ranges::find(flags, "dead") != flags.end()});
        }
        auto &list = routes_[prefix];
        list.insert(std::ranges::upper_bound(list, rank(r), {}, rank), r);
    }

    static std::tuple<bool, bool, std::uint32_t> rank(const route &r) { return {r.special, r.main, r.metric}; }

    /// Removes the best routes as long as all their next hops are dead: the kernel uses none of them. A single dead
    /// next hop is punted, so that the kernel decides.
    static void drop_dead(std::vector<route> &routes)
    {
        while (!routes.empty()) {
            const auto end = std::ranges::find_if(routes, [&](const route &r) { return rank(r) != rank(routes[0]); });
            const auto dead = [](const route &r) {
                return !r.special && r.type == "unicast" && std::ranges::all_of(r.hops, &hop::dead);
            };
            if (!std::all_of(routes.begin(), end, dead)) {
                return;
            }
            routes.erase(routes.begin(), end);
        }
    }

    bool usable(const std::string &dev) const
    {
        const auto s = shadows_.find(dev);
        return s != shadows_.end() && links_.at(dev).first && s->second->running.load();
    }

    /// The first of the best routes with a usable next hop, else the first route. For IPv6 routes with gateways, all
    /// equally good ones as one route.
    route choose(const std::vector<route> &routes) const
    {
        const auto equal = [&](const route &r) { return rank(r) == rank(routes[0]); };
        const auto found = std::ranges::find_if(routes, [&](const route &r) {
            return equal(r) && std::ranges::any_of(r.hops, [&](const hop &h) { return usable(h.dev); });
        });
        return found == routes.end() ? routes[0] : *found;
    }

    bool under_local(const ip_prefix &p) const
    {
        return std::ranges::any_of(routes_, [&](const auto &entry) {
            return entry.first.len < p.len && covers(entry.first, p) && !entry.second[0].main;
        });
    }

    std::string of_routes(const ip_prefix &prefix, const std::vector<route> &routes) const
    {
        static const std::set<std::string> local{"local", "broadcast", "anycast", "multicast"};
        static const std::set<std::string> refusing{"unreachable", "prohibit", "throw"};
        const route &first = routes[0];
        if (local.contains(first.type) || (first.main && under_local(prefix))) {
            return "punt local";
        }
        if (routes.back().special) {
            return "punt kernel";
        }
        if (first.type == "blackhole") {
            return std::string("drop ") + drop_reason_name(DROP_BLACKHOLE);
        }
        if (refusing.contains(first.type)) {
            return first.type == "throw" && default_table_.contains(prefix.addr.family) ? "punt kernel"
                                                                                        : "punt no_route";
        }
        const route r = choose(routes);
        const bool host = prefix.len == address_bits(prefix.addr.family);
        std::set<std::string> active;
        std::vector<std::string> all;
        for (const hop &h : r.hops) {
            all.push_back(over(h, h.gateway ? h.gateway : host ? std::optional(prefix.addr) : std::nullopt, r.mtu));
            if (all.back() != "punt resolve" || (!h.gateway && !host && usable(h.dev))) {
                active.insert(all.back());
            }
        }
        return active.empty() ? all[0] : active.size() == 1 ? *active.begin() : group_text(active);
    }

    std::string over(const hop &h, const std::optional<ip_addr> &to, std::uint32_t mtu) const
    {
        const auto s = shadows_.find(h.dev);
        if (s == shadows_.end()) {
            return "punt kernel";
        }
        const auto neighbour = to ? neighbours_.find({*to, h.dev}) : neighbours_.end();
        if (neighbour == neighbours_.end() || !usable(h.dev)) {
            return "punt resolve";
        }
        const std::uint32_t link_mtu = std::min(links_.at(h.dev).second, s->second->mtu.load());
        return s->second->name + " " + neighbour->second + " mtu " +
               std::to_string(mtu ? std::min(mtu, link_mtu) : link_mtu);
    }

    void add_neighbour(fib_text &all, const ip_addr &addr, const std::string &dev) const
    {
        const ip_prefix host = host_prefix(addr);
        if (routes_.contains(host) || fixed(host) || !shadows_.contains(dev)) {
            return;
        }
        const std::vector<route> *best = nullptr;
        for (unsigned len = host.len + 1; len-- > 0 && !best;) {
            const auto found = routes_.find(make_prefix(addr, len));
            best = found == routes_.end() ? nullptr : &found->second;
        }
        if (!best || best->back().special || (*best)[0].type != "unicast" || under_local(host)) {
            return;
        }
        const route r = choose(*best);
        if (r.hops.size() == 1 && !r.hops[0].gateway && r.hops[0].dev == dev) {
            all[host] = over(r.hops[0], addr, r.mtu);
        }
    }

    const shadow_map &shadows_;
    std::map<std::string, std::pair<bool, std::uint32_t>> links_;
    std::map<std::pair<ip_addr, std::string>, std::string> neighbours_;
    std::map<ip_prefix, std::vector<route>> routes_;
    std::set<std::uint8_t> default_table_; ///< families whose rules lead to it, and that have routes there
};

/// All differences as one readable text; empty if there is none.
inline std::string difference(const fib_text &expected, const fib_text &actual)
{
    std::string text;
    for (const auto &[prefix, nexthop] : expected) {
        const auto found = actual.find(prefix);
        if (found == actual.end()) {
            text += to_text(prefix) + " is missing, expected: " + nexthop + "\n";
        } else if (found->second != nexthop) {
            text += to_text(prefix) + " is: " + found->second + ", expected: " + nexthop + "\n";
        }
    }
    for (const auto &[prefix, nexthop] : actual) {
        if (!expected.contains(prefix)) {
            text += to_text(prefix) + " is too much: " + nexthop + "\n";
        }
    }
    return text;
}

} // namespace halfpoll::test
