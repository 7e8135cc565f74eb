// SPDX-License-Identifier: BSD-3-Clause
#include "mirror.hpp"

#include "mirror_nexthops.hpp"
#include "mirror_routes.hpp"
#include "netlink.hpp"

#include <algorithm>
#include <cerrno>
#include <linux/rtnetlink.h>
#include <set>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include <utility>

namespace halfpoll
{

namespace
{

constexpr int reads_per_turn = 1024; // then the control loop sees to its other duties
constexpr int load_attempts = 5;
constexpr int dump_attempts = 10;
constexpr long retry_ns = 100 * NSEC_PER_MSEC;

struct known_link {
    bool up = false;
    bool is_shadow = false;
    std::uint32_t mtu = 0;
    rte_ether_addr mac{};
    std::uint32_t generation = 0;
};

struct known_neighbour {
    rte_ether_addr mac{};
    std::uint32_t generation = 0;
};

/// By address, so that those under a prefix stand together.
using neighbour_map = std::map<std::pair<ip_addr, int>, known_neighbour>;

struct table_request {
    int type;
    std::uint8_t family;
};
constexpr table_request all_tables[] = {{RTM_GETLINK, AF_UNSPEC},
                                        {RTM_GETNEIGH, AF_INET},
                                        {RTM_GETNEIGH, AF_INET6},
                                        {RTM_GETROUTE, AF_INET},
                                        {RTM_GETROUTE, AF_INET6}};

adjacency punt_as(punt_class c)
{
    adjacency a;
    a.kind = adjacency_kind::punt;
    a.punt = c;
    return a;
}

adjacency drop_as(forward_drop_reason reason)
{
    adjacency a;
    a.kind = adjacency_kind::drop;
    a.drop = reason;
    return a;
}

ip_prefix prefix_of(std::uint8_t family, std::initializer_list<std::uint8_t> first_bytes, unsigned len)
{
    ip_addr addr{family, {}};
    std::ranges::copy(first_bytes, addr.bytes.begin());
    return {addr, static_cast<std::uint8_t>(len)};
}

bool same_mac(const rte_ether_addr &a, const rte_ether_addr &b) { return rte_is_same_ether_addr(&a, &b) != 0; }

route_table::source source_of(const nlmsghdr &message, bool dump)
{
    return dump                                  ? route_table::source::dump
           : message.nlmsg_flags & NLM_F_REPLACE ? route_table::source::replace
           : message.nlmsg_flags & NLM_F_APPEND  ? route_table::source::append
                                                 : route_table::source::prepend;
}

} // namespace

struct mirror::impl {
    forwarder &fwd;
    slow_path &slow;
    netlink_socket socket;
    int epoll_fd = -1;
    int retry_fd = -1; ///< timer: load again
    mirror_stats stats;
    bool complained = false;

    std::map<int, known_link> links;
    neighbour_map neighbours; ///< the valid ones
    route_table routes;
    shared_nexthops nexthops;
    std::set<ip_prefix> choices; ///< prefixes whose best routes have more than one next hop
    std::uint32_t generation = 0;
    bool lost_messages = false;
    bool stale_ipv4_routes = false; ///< the kernel removed some without a word

    /// Next hops that need nothing but a class.
    std::uint32_t local, control, other, blackhole;
    /// Never forwarded, whatever the routes say.
    std::map<ip_prefix, std::uint32_t> fixed;

    impl(forwarder &f, slow_path &s, const std::string &netns, unsigned receive_buffer);
    ~impl();

    // Loading.
    void resync();
    bool load();
    netlink_socket::dumped dump(const table_request &table);
    void sweep_all();
    void sweep_routes(std::uint8_t family);
    void refresh_ipv4_routes();
    void retry_later();

    // Messages.
    void handle(const nlmsghdr &message);
    void apply_link(const link_message &link);
    void forget_link(int ifindex);
    void apply_neighbour(const neighbour_message &neighbour);
    void forget_neighbour(const std::pair<ip_addr, int> &key);
    void apply_route(const nlmsghdr &message);

    // Consequences.
    void link_changed(int ifindex);
    void adopt_mtu(net_device &dev, std::uint32_t mtu);
    void neighbour_changed(const ip_addr &addr, int ifindex);
    void route_changed(const ip_prefix &prefix, bool local);
    void reselect();
    void evaluate(const ip_prefix &prefix);
    std::uint32_t decide(const ip_prefix &prefix, const std::vector<kernel_route> &list);
    std::uint32_t decide_neighbour(const ip_addr &addr);
    std::uint32_t acquire(const ip_addr &to, bool host, const kernel_route &route, const route_hop &hop);
    std::pair<const kernel_route *, const route_hop *> choose(const std::vector<kernel_route> &list) const;
    bool usable(int ifindex) const;
    bool never_forwarded(const ip_prefix &prefix) const;
    adjacency make_adjacency(const nexthop_key &key) const;
    void write_fib(const ip_prefix &prefix, std::uint32_t nexthop);
    void complain(const std::string &what);
};

mirror::impl::impl(forwarder &f, slow_path &s, const std::string &netns, unsigned receive_buffer)
    : fwd(f), slow(s), socket(netns,
                              {RTNLGRP_LINK, RTNLGRP_NEIGH, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE,
                               RTNLGRP_NEXTHOP},
                              receive_buffer),
      nexthops(f.nexthops(), [this](const nexthop_key &key) { return make_adjacency(key); })
{
    local = fwd.nexthops().add(punt_as(PUNT_LOCAL));
    control = fwd.nexthops().add(punt_as(PUNT_CONTROL));
    other = fwd.nexthops().add(punt_as(PUNT_OTHER));
    blackhole = fwd.nexthops().add(drop_as(DROP_BLACKHOLE));
    fixed = {{prefix_of(AF_INET, {224}, 4), control},
             {prefix_of(AF_INET6, {0xff}, 8), control},
             {prefix_of(AF_INET6, {0xfe, 0x80}, 10), local}};
    for (const auto &[prefix, nexthop] : fixed) {
        write_fib(prefix, nexthop);
    }
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    retry_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    for (const int fd : {socket.fd(), retry_fd}) {
        epoll_event event{.events = EPOLLIN, .data = {.fd = fd}};
        if (epoll_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
            throw_errno(errno, "mirror: epoll");
        }
    }
}

mirror::impl::~impl()
{
    for (auto &[prefix, entry] : routes.entries()) {
        if (entry.nexthop != route_entry::none) {
            write_fib(prefix, route_entry::none);
            nexthops.release(entry.nexthop);
        }
    }
    for (const auto &[prefix, nexthop] : fixed) {
        write_fib(prefix, route_entry::none);
    }
    for (const std::uint32_t index : {local, control, other, blackhole}) {
        fwd.nexthops().remove(index);
    }
    for (const int fd : {epoll_fd, retry_fd}) {
        if (fd >= 0) {
            close(fd);
        }
    }
    fwd.reclaim();
}

// ---- loading: mark what the dumps show, then sweep the rest; what stays is never taken out of the FIB ----

void mirror::impl::resync()
{
    for (int attempt = 0; attempt < load_attempts; ++attempt) {
        if (load()) {
            ++stats.resyncs;
            return;
        }
    }
    retry_later();
}

/// False if messages were lost on the way.
bool mirror::impl::load()
{
    ++generation;
    routes.begin_dump();
    lost_messages = false;
    stale_ipv4_routes = false;
    if (!std::ranges::all_of(all_tables,
                             [this](const auto &table) { return dump(table) == netlink_socket::dumped::complete; })) {
        return false;
    }
    sweep_all();
    return true;
}

netlink_socket::dumped mirror::impl::dump(const table_request &table)
{
    auto result = netlink_socket::dumped::interrupted;
    for (int attempt = 0; attempt < dump_attempts && result == netlink_socket::dumped::interrupted; ++attempt) {
        result = socket.dump(table.type, table.family, [this](const nlmsghdr &message) { handle(message); });
    }
    return result;
}

void mirror::impl::sweep_all()
{
    sweep_routes(AF_UNSPEC);
    std::vector<std::pair<ip_addr, int>> gone_neighbours;
    for (const auto &[key, neighbour] : neighbours) {
        if (neighbour.generation != generation) {
            gone_neighbours.push_back(key);
        }
    }
    std::ranges::for_each(gone_neighbours, [this](const auto &key) { forget_neighbour(key); });
    std::vector<int> gone_links;
    for (const auto &[ifindex, link] : links) {
        if (link.generation != generation) {
            gone_links.push_back(ifindex);
        }
    }
    std::ranges::for_each(gone_links, [this](int ifindex) { forget_link(ifindex); });
}

void mirror::impl::sweep_routes(std::uint8_t family)
{
    for (const ip_prefix &prefix : routes.sweep(family)) {
        route_changed(prefix, true);
    }
}

void mirror::impl::refresh_ipv4_routes()
{
    stale_ipv4_routes = false;
    routes.begin_dump();
    if (dump({RTM_GETROUTE, AF_INET}) == netlink_socket::dumped::complete) {
        sweep_routes(AF_INET);
    } else {
        lost_messages = true;
    }
}

void mirror::impl::retry_later()
{
    const itimerspec when{.it_interval = {}, .it_value = {.tv_sec = 0, .tv_nsec = retry_ns}};
    timerfd_settime(retry_fd, 0, &when, nullptr);
}

// ---- messages ----

void mirror::impl::handle(const nlmsghdr &message)
{
    ++stats.messages;
    switch (message.nlmsg_type) {
    case RTM_NEWLINK:
    case RTM_DELLINK:
        if (const auto link = parse_link(message)) {
            message.nlmsg_type == RTM_NEWLINK ? apply_link(*link) : forget_link(link->ifindex);
            return;
        }
        break;
    case RTM_NEWNEIGH:
    case RTM_DELNEIGH:
        if (auto neighbour = parse_neighbour(message)) {
            neighbour->valid &= message.nlmsg_type == RTM_NEWNEIGH;
            apply_neighbour(*neighbour);
            return;
        }
        break;
    case RTM_NEWROUTE:
    case RTM_DELROUTE:
        apply_route(message);
        return;
    case RTM_DELADDR: // takes routes with that source address along, silently
        stale_ipv4_routes = true;
        return;
    case RTM_DELNEXTHOP:
    case RTM_NEWNEXTHOP:
        stale_ipv4_routes |= message.nlmsg_type == RTM_DELNEXTHOP || (message.nlmsg_flags & NLM_F_REPLACE);
        return;
    default:
        break;
    }
    ++stats.ignored;
}

void mirror::impl::apply_link(const link_message &message)
{
    known_link &link = links[message.ifindex];
    const known_link before = link;
    const shadow *s = slow.of_kernel_ifindex(message.ifindex);
    link = {
        .up = message.up, .is_shadow = s != nullptr, .mtu = message.mtu, .mac = message.mac, .generation = generation};
    if (link.up == before.up && link.is_shadow == before.is_shadow && link.mtu == before.mtu &&
        same_mac(link.mac, before.mac)) {
        return;
    }
    stale_ipv4_routes |= before.up && !link.up; // the kernel removes its routes without notification
    link_changed(message.ifindex);
    if (s && link.mtu != before.mtu) {
        adopt_mtu(*s->dev, message.mtu); // last: it may call device_changed()
    }
}

void mirror::impl::forget_link(int ifindex)
{
    if (links.erase(ifindex) > 0) {
        stale_ipv4_routes = true;
        link_changed(ifindex);
    }
}

void mirror::impl::apply_neighbour(const neighbour_message &message)
{
    const std::pair key(message.addr, message.ifindex);
    if (!message.valid) {
        forget_neighbour(key);
        return;
    }
    const auto [known, added] = neighbours.try_emplace(key);
    known->second.generation = generation;
    if (added || !same_mac(known->second.mac, message.mac)) {
        known->second.mac = message.mac;
        neighbour_changed(message.addr, message.ifindex);
    }
}

void mirror::impl::forget_neighbour(const std::pair<ip_addr, int> &key)
{
    const auto [addr, ifindex] = key; // the key may live in the element that goes
    if (neighbours.erase(key) > 0) {
        neighbour_changed(addr, ifindex);
    }
}

void mirror::impl::apply_route(const nlmsghdr &message)
{
    const auto route = parse_route(message);
    if (!route || route->cached || route->special ||
        (route->table != RT_TABLE_MAIN && route->table != RT_TABLE_LOCAL) || never_forwarded(route->dst)) {
        ++stats.ignored;
        return;
    }
    stats.ignored += route->opaque ? 1 : 0; // its prefix is punted
    const bool changed = message.nlmsg_type == RTM_NEWROUTE
                             ? routes.add(*route, source_of(message, socket.is_dump_reply(message)))
                             : routes.remove(*route);
    if (changed) {
        route_changed(route->dst, route->table == RT_TABLE_LOCAL);
    }
}

// ---- consequences ----

void mirror::impl::link_changed(int ifindex)
{
    nexthops.refresh(ifindex, nullptr);
    reselect();
    for (const auto &[key, neighbour] : neighbours) {
        if (key.second == ifindex) {
            evaluate(host_prefix(key.first));
        }
    }
}

void mirror::impl::adopt_mtu(net_device &dev, std::uint32_t mtu)
{
    if (dev.mtu.load(std::memory_order_relaxed) == mtu) {
        return;
    }
    try {
        fwd.core().set_mtu(dev, mtu);
    } catch (const error &e) {
        complain(e.what());
    }
    nexthops.refresh(0, &dev);
}

void mirror::impl::neighbour_changed(const ip_addr &addr, int ifindex)
{
    nexthops.refresh(ifindex, addr);
    evaluate(host_prefix(addr));
}

/// `local`: routes of the local table are concerned, which come before all longer prefixes of the main table.
void mirror::impl::route_changed(const ip_prefix &prefix, bool in_local_table)
{
    evaluate(prefix);
    for (auto n = neighbours.lower_bound({prefix.addr, 0}); n != neighbours.end() && covers(prefix, n->first.first);
         ++n) {
        evaluate(host_prefix(n->first.first));
    }
    if (!in_local_table) {
        return;
    }
    std::vector<ip_prefix> below;
    for (auto e = routes.entries().upper_bound(prefix); e != routes.entries().end() && covers(prefix, e->first); ++e) {
        below.push_back(e->first);
    }
    std::ranges::for_each(below, [this](const ip_prefix &p) { evaluate(p); });
}

/// Usability changed: choices among several next hops are made again.
void mirror::impl::reselect()
{
    const std::set<ip_prefix> all = choices;
    std::ranges::for_each(all, [this](const ip_prefix &prefix) { evaluate(prefix); });
}

/// Brings the FIB's entry for one prefix in line with what is known.
void mirror::impl::evaluate(const ip_prefix &prefix)
{
    const auto found = routes.entries().try_emplace(prefix).first;
    route_entry &entry = found->second;
    std::uint32_t wanted = route_entry::none;
    try {
        wanted = decide(prefix, entry.routes);
        if (wanted != entry.nexthop) {
            write_fib(prefix, wanted);
            std::swap(wanted, entry.nexthop);
        }
    } catch (const error &e) { // a table is full: what was there stays
        complain(e.what());
    }
    nexthops.release(wanted); // the one that is replaced, or the second use of the same
    routes.drop_if_unused(found);
}

/// The next hop for a prefix, acquired; none: it belongs not into the FIB.
std::uint32_t mirror::impl::decide(const ip_prefix &prefix, const std::vector<kernel_route> &list)
{
    choices.erase(prefix);
    const bool host = prefix.len == address_bits(prefix.addr.family);
    if (list.empty()) {
        return host ? decide_neighbour(prefix.addr) : route_entry::none;
    }
    if (list.front().table != RT_TABLE_LOCAL && routes.under_local(prefix)) {
        return local;
    }
    switch (list.front().type) {
    case RTN_LOCAL:
    case RTN_BROADCAST:
    case RTN_ANYCAST:
    case RTN_MULTICAST:
        return local;
    case RTN_BLACKHOLE:
        return blackhole;
    case RTN_UNREACHABLE:
    case RTN_PROHIBIT:
    case RTN_THROW:
        return nexthop_table::no_route;
    case RTN_UNICAST:
        break;
    default:
        return other;
    }
    if (best_end(list) - list.begin() > 1 || list.front().hops.size() > 1) {
        choices.insert(prefix);
    }
    const auto [route, hop] = choose(list);
    return acquire(prefix.addr, host, *route, *hop);
}

/// A neighbour gets a prefix of its own if the kernel would send straight to it.
std::uint32_t mirror::impl::decide_neighbour(const ip_addr &addr)
{
    const auto *cover = routes.lookup(addr);
    if (!cover || never_forwarded(host_prefix(addr)) || routes.under_local(host_prefix(addr)) ||
        cover->second.routes.front().type != RTN_UNICAST) {
        return route_entry::none;
    }
    const auto [route, hop] = choose(cover->second.routes);
    const bool connected = hop->gateway.family == AF_UNSPEC && !route->opaque;
    if (!connected || !neighbours.contains({addr, hop->oif}) || !slow.of_kernel_ifindex(hop->oif)) {
        return route_entry::none;
    }
    return acquire(addr, true, *route, *hop);
}

std::uint32_t mirror::impl::acquire(const ip_addr &to, bool host, const kernel_route &route, const route_hop &hop)
{
    if (route.opaque) {
        return other;
    }
    const bool connected = hop.gateway.family == AF_UNSPEC;
    return nexthops.acquire(
        {.oif = hop.oif, .gateway = connected && host ? to : hop.gateway, .family = to.family, .mtu = route.mtu});
}

/// Among the best routes the first next hop that can be used by the data path, else the first.
std::pair<const kernel_route *, const route_hop *> mirror::impl::choose(const std::vector<kernel_route> &list) const
{
    for (auto route = list.begin(); route != best_end(list); ++route) {
        for (const route_hop &hop : route->hops) {
            if (route->type == RTN_UNICAST && !route->opaque && usable(hop.oif)) {
                return {&*route, &hop};
            }
        }
    }
    return {&list.front(), &list.front().hops.front()};
}

bool mirror::impl::usable(int ifindex) const
{
    const shadow *s = slow.of_kernel_ifindex(ifindex);
    const auto link = links.find(ifindex);
    return s && link != links.end() && link->second.up && s->dev->running.load(std::memory_order_relaxed);
}

bool mirror::impl::never_forwarded(const ip_prefix &prefix) const
{
    return std::ranges::any_of(fixed, [&](const auto &entry) { return covers(entry.first, prefix); });
}

adjacency mirror::impl::make_adjacency(const nexthop_key &key) const
{
    const shadow *s = slow.of_kernel_ifindex(key.oif);
    if (!s) {
        return punt_as(PUNT_OTHER); // the kernel forwards
    }
    const auto neighbour = neighbours.find({key.gateway, key.oif});
    if (!usable(key.oif) || neighbour == neighbours.end()) {
        return punt_as(PUNT_RESOLVE);
    }
    const known_link &link = links.at(key.oif);
    adjacency a;
    a.kind = adjacency_kind::forward;
    a.dev = s->dev;
    a.ifindex = s->dev->ifindex;
    const std::uint32_t mtu = std::min(link.mtu, s->dev->mtu.load(std::memory_order_relaxed));
    a.mtu = static_cast<std::uint16_t>(std::min({mtu, key.mtu == 0 ? mtu : key.mtu, 65535U}));
    const rte_ether_hdr header{.dst_addr = neighbour->second.mac,
                               .src_addr = link.mac,
                               .ether_type =
                                   rte_cpu_to_be_16(key.family == AF_INET ? RTE_ETHER_TYPE_IPV4 : RTE_ETHER_TYPE_IPV6)};
    static_assert(sizeof header == 14);
    std::copy_n(reinterpret_cast<const std::uint8_t *>(&header), sizeof header, a.rewrite);
    return a;
}

void mirror::impl::write_fib(const ip_prefix &prefix, std::uint32_t nexthop)
{
    const auto write = [&](auto &fib, const auto &addr) {
        if (nexthop == route_entry::none) {
            fib.remove(addr, prefix.len);
        } else {
            fib.insert(addr, prefix.len, nexthop);
        }
    };
    if (prefix.addr.family == AF_INET) {
        write(fwd.routes4(), to_ipv4(prefix.addr.bytes));
    } else {
        write(fwd.routes6(), prefix.addr.bytes);
    }
}

void mirror::impl::complain(const std::string &what)
{
    ++stats.errors;
    const auto &warn = fwd.core().rt().options().warn;
    if (!complained && warn) {
        warn("mirror: " + what);
    }
    complained = true;
}

// ---- the public face ----

mirror::mirror(forwarder &fwd, slow_path &slow, const std::string &netns, unsigned receive_buffer)
    : impl_(std::make_unique<impl>(fwd, slow, netns, receive_buffer))
{
    resync();
}

mirror::~mirror() = default;

int mirror::fd() const noexcept { return impl_->epoll_fd; }

void mirror::process()
{
    impl &m = *impl_;
    std::uint64_t fired;
    m.lost_messages |= read(m.retry_fd, &fired, sizeof fired) > 0;
    for (int i = 0; i < reads_per_turn && !m.lost_messages; ++i) {
        const auto got = m.socket.receive([&m](const nlmsghdr &message) { m.handle(message); });
        if (got == netlink_socket::received::nothing) {
            break;
        }
        m.lost_messages = got == netlink_socket::received::overrun;
    }
    if (m.stale_ipv4_routes && !m.lost_messages) {
        m.refresh_ipv4_routes();
    }
    if (m.lost_messages) {
        m.resync();
    }
    m.fwd.reclaim();
}

void mirror::device_changed(net_device &dev)
{
    const shadow *s = impl_->slow.of_device(dev);
    if (s) {
        const auto link = impl_->links.find(s->kernel_ifindex);
        if (link != impl_->links.end()) {
            link->second.is_shadow = true;
        }
        impl_->link_changed(s->kernel_ifindex);
    }
    impl_->nexthops.refresh(0, &dev);
    impl_->reselect();
}

void mirror::resync()
{
    impl_->resync();
    impl_->fwd.reclaim();
}

const mirror_stats &mirror::stats() const noexcept { return impl_->stats; }

} // namespace halfpoll
