// SPDX-License-Identifier: BSD-3-Clause
#include "mirror_impl.hpp"

#include <algorithm>
#include <linux/netconf.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <utility>

namespace halfpoll
{

namespace
{

constexpr ktime_t turn_time = 20 * NSEC_PER_MSEC; // after which process() returns to the control loop
constexpr unsigned load_attempts = 5;
constexpr ktime_t tend_period = 5 * NSEC_PER_SEC; // the kernel's delay_first_probe_time

ip_prefix prefix_of(std::uint8_t family, std::initializer_list<std::uint8_t> first_bytes, unsigned len)
{
    ip_addr addr{family, {}};
    std::ranges::copy(first_bytes, addr.bytes.begin());
    return {addr, static_cast<std::uint8_t>(len)};
}

} // namespace

mirror::impl::impl(forwarder &f, slow_path &s, const std::string &netns, unsigned receive_buffer)
    : fwd(f), slow(s), socket(netns,
                              {RTNLGRP_LINK, RTNLGRP_NEIGH, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR,
                               RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE, RTNLGRP_NEXTHOP, RTNLGRP_IPV4_RULE,
                               RTNLGRP_IPV6_RULE, RTNLGRP_IPV4_NETCONF, RTNLGRP_IPV6_NETCONF, RTNLGRP_IPV6_IFINFO},
                              receive_buffer),
      nexthops(f.nexthops(), {.state = [this](const nexthop_key &key) { return make_state(key); },
                              .contents = [this](const nexthop_group_key &key) { return contents_of(key); }})
{
}

void mirror::impl::open()
{
    local = fwd.nexthops().add(punt_as(PUNT_LOCAL));
    control = fwd.nexthops().add(punt_as(PUNT_CONTROL));
    other = fwd.nexthops().add(punt_as(PUNT_OTHER));
    table_full = fwd.nexthops().add(punt_as(PUNT_TABLE_FULL));
    blackhole = fwd.nexthops().add(drop_as(DROP_BLACKHOLE));
    fixed = {{prefix_of(AF_INET, {224}, 4), control},
             {prefix_of(AF_INET6, {0xff}, 8), control},
             {prefix_of(AF_INET6, {0xfe, 0x80}, 10), local}};
    for (const auto &[prefix, nexthop] : fixed) {
        write_fib(prefix, nexthop);
    }
    events.watch(socket.fd());
    tend_timer.arm_every(tend_period);
    link6_timer.arm(NSEC_PER_SEC);
}

mirror::impl::~impl()
{
    for (auto &[key, neighbour] : neighbours) {
        know_neighbour(key.first, neighbour, false);
    }
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
    for (const std::uint32_t index : {local, control, other, table_full, blackhole}) {
        if (index != unset) {
            fwd.nexthops().remove(index);
        }
    }
    fwd.reclaim();
}

/// Reads the messages that wait. Once all are read, begins to load the stale tables.
void mirror::impl::receive_until(ktime_t end)
{
    do {
        const auto got = socket.receive([this](const nlmsghdr &message) { take(message); });
        lost_messages |= got == netlink_socket::received::overrun;
        if (got == netlink_socket::received::nothing && !begin_load_if_due()) {
            return;
        }
    } while (ktime_get() < end);
    begin_load_if_due(); // notifications came without a pause: begins all the same
}

/// The kernel sends no message when net.ipv6.conf.IF.mtu or disable_ipv6 change, by sysctl or by a router
/// advertisement. Some kernels (6.1) send none when ignore_routes_with_linkdown changes, either.
void mirror::impl::look_at_links6()
{
    stale.links6 = true;
    link6_timer.arm(NSEC_PER_SEC + static_cast<ktime_t>(links.size()) * NSEC_PER_MSEC);
}

// ---- class mirror ----

mirror::mirror(forwarder &fwd, slow_path &slow, const std::string &netns, unsigned receive_buffer)
    : impl_(std::make_unique<impl>(fwd, slow, netns, receive_buffer))
{
    impl_->open();
    resync();
}

mirror::~mirror() = default;

int mirror::fd() const noexcept { return impl_->events.fd(); }

void mirror::process()
{
    impl &m = *impl_;
    if (m.link6_timer.take_expiry()) {
        m.look_at_links6();
    }
    if (m.load_timer.take_expiry()) {
        m.look_after_load();
    }
    m.receive_until(ktime_get() + turn_time);
    if (m.tend_timer.take_expiry()) {
        m.tend_neighbours();
    }
    m.fwd.reclaim();
    if (m.room_timer.take_expiry()) {
        m.find_room();
    }
    m.watch_room();
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
    impl &m = *impl_;
    const std::uint64_t before = m.stats.resyncs;
    m.lost_messages = true;
    m.load_after = 0;
    m.failed_loads = 0;
    for (;;) {
        process();
        if (m.stats.resyncs != before || m.failed_loads >= load_attempts) {
            return;
        }
        pollfd p{.fd = m.events.fd(), .events = POLLIN, .revents = 0};
        poll(&p, 1, -1);
    }
}

bool mirror::settled() const { return impl_->settled(); }

void mirror::tend_neighbours() { impl_->tend_neighbours(); }

void mirror::apply(const nlmsghdr &message)
{
    impl_->handle(message);
    impl_->fwd.reclaim();
}

const mirror_stats &mirror::stats() const noexcept { return impl_->stats; }

} // namespace halfpoll
