// SPDX-License-Identifier: BSD-3-Clause
#include "mirror_impl.hpp"

#include <algorithm>
#include <cerrno>
#include <linux/netconf.h>
#include <linux/rtnetlink.h>
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
constexpr time_t tend_seconds = 5; // the kernel's delay_first_probe_time

constexpr table_request all_tables[] = {
    {RTM_GETLINK, AF_UNSPEC}, {RTM_GETNETCONF, AF_INET},   {RTM_GETNETCONF, AF_INET6}, {RTM_GETNEIGH, AF_INET},
    {RTM_GETNEIGH, AF_INET6}, {RTM_GETNEXTHOP, AF_UNSPEC}, {RTM_GETRULE, AF_INET},     {RTM_GETRULE, AF_INET6},
    {RTM_GETROUTE, AF_INET},  {RTM_GETROUTE, AF_INET6}};

ip_prefix prefix_of(std::uint8_t family, std::initializer_list<std::uint8_t> first_bytes, unsigned len)
{
    ip_addr addr{family, {}};
    std::ranges::copy(first_bytes, addr.bytes.begin());
    return {addr, static_cast<std::uint8_t>(len)};
}

} // namespace

mirror::impl::impl(forwarder &f, slow_path &s, const std::string &netns, unsigned receive_buffer)
    : fwd(f), slow(s),
      socket(netns,
             {RTNLGRP_LINK, RTNLGRP_NEIGH, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE, RTNLGRP_NEXTHOP,
              RTNLGRP_IPV4_RULE, RTNLGRP_IPV6_RULE, RTNLGRP_IPV4_NETCONF, RTNLGRP_IPV6_NETCONF},
             receive_buffer),
      nexthops(f.nexthops(), {.state = [this](const nexthop_key &key) { return make_state(key); },
                              .contents = [this](const nexthop_group_key &key) { return contents_of(key); }})
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
    watch(socket.fd());
    retry_fd = watch(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
    tend_fd = watch(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
    const itimerspec period{.it_interval = {tend_seconds, 0}, .it_value = {tend_seconds, 0}};
    timerfd_settime(tend_fd, 0, &period, nullptr);
}

int mirror::impl::watch(int fd)
{
    epoll_event event{.events = EPOLLIN, .data = {.fd = fd}};
    if (fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        throw_errno(errno, "mirror: epoll");
    }
    return fd;
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
    for (const shadow *s : slow.shadows()) {
        fwd.interfaces().set(s->dev->ifindex, {});
    }
    for (const std::uint32_t index : {local, control, other, blackhole}) {
        fwd.nexthops().remove(index);
    }
    for (const int fd : {epoll_fd, retry_fd, tend_fd}) {
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
    stale = {};
    if (!std::ranges::all_of(all_tables,
                             [this](const auto &table) { return dump(table) == netlink_socket::dumped::complete; })) {
        return false;
    }
    sweep_all();
    return true;
}

netlink_socket::dumped mirror::impl::dump(const table_request &table)
{
    const bool of_rules = table.type == RTM_GETRULE;
    auto result = netlink_socket::dumped::interrupted;
    for (int attempt = 0; attempt < dump_attempts && result == netlink_socket::dumped::interrupted; ++attempt) {
        std::erase_if(rules, [&](const rule_message &r) { return of_rules && r.family == table.family; });
        result = socket.dump(table.type, table.family, [this](const nlmsghdr &message) { handle(message); });
    }
    if (of_rules) {
        judge_rules(); // before the first route is followed
    }
    return result;
}

void mirror::impl::sweep_all()
{
    sweep_objects();
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

void mirror::impl::sweep_objects()
{
    std::vector<std::uint32_t> gone;
    for (const auto &[id, object] : objects) {
        if (object.generation != generation) {
            gone.push_back(id);
        }
    }
    std::ranges::for_each(gone, [this](std::uint32_t id) { forget_object(id); });
}

void mirror::impl::refresh_stale()
{
    const auto complete = [this](const table_request &table) {
        lost_messages |= dump(table) != netlink_socket::dumped::complete;
        return !lost_messages;
    };
    if (std::exchange(stale.rules, false)) {
        (void)(complete({RTM_GETRULE, AF_INET}) && complete({RTM_GETRULE, AF_INET6}));
    }
    if (std::exchange(stale.objects, false)) {
        ++generation;
        if (complete({RTM_GETNEXTHOP, AF_UNSPEC})) {
            sweep_objects(); // routes go with their objects
        }
    }
    if (std::exchange(stale.routes4, false)) {
        refresh_routes(AF_INET);
    }
    if (std::exchange(stale.routes6, false)) {
        refresh_routes(AF_INET6);
    }
}

void mirror::impl::refresh_routes(std::uint8_t family)
{
    routes.begin_dump();
    if (dump({RTM_GETROUTE, family}) == netlink_socket::dumped::complete) {
        sweep_routes(family);
    } else {
        lost_messages = true;
    }
}

void mirror::impl::retry_later()
{
    const itimerspec when{.it_interval = {}, .it_value = {.tv_sec = 0, .tv_nsec = retry_ns}};
    timerfd_settime(retry_fd, 0, &when, nullptr);
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
    if (!m.lost_messages) {
        m.refresh_stale();
    }
    if (m.lost_messages) {
        m.resync();
    }
    if (read(m.tend_fd, &fired, sizeof fired) > 0) {
        m.tend_neighbours();
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

void mirror::tend_neighbours() { impl_->tend_neighbours(); }

void mirror::apply(const nlmsghdr &message)
{
    impl_->handle(message);
    impl_->fwd.reclaim();
}

const mirror_stats &mirror::stats() const noexcept { return impl_->stats; }

} // namespace halfpoll
