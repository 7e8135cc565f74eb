// SPDX-License-Identifier: BSD-3-Clause
#include "mirror_impl.hpp"

#include <algorithm>
#include <linux/rtnetlink.h>
#include <poll.h>

namespace halfpoll
{

namespace
{
constexpr ktime_t turn_time = 20 * NSEC_PER_MSEC; // after which process() returns to the control loop
constexpr unsigned load_attempts = 5;

bool owns_program(const net_core &core, std::uint32_t id)
{
    return std::ranges::any_of(core.devices(),
                               [id](const net_device *dev) { return dev->driver && dev->driver->owns_program(id); });
}
} // namespace

mirror::impl::impl(forwarder &f, slow_path &s, const std::string &netns, unsigned receive_buffer)
    : fwd(f), slow(s), socket(netns, NETLINK_ROUTE,
                              {RTNLGRP_LINK, RTNLGRP_NEIGH, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR,
                               RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE, RTNLGRP_NEXTHOP, RTNLGRP_IPV4_RULE,
                               RTNLGRP_IPV6_RULE, RTNLGRP_IPV4_NETCONF, RTNLGRP_IPV6_NETCONF, RTNLGRP_IPV6_IFINFO},
                              receive_buffer),
      nexthops(f.nexthops(),
               {.state = [this](const nexthop_key &key) { return adjacencies.state_of(key); },
                .contents = [this](const nexthop_group_key &key) { return adjacencies.contents_of(key); }}),
      watch(policies, events, netns, [&core = f.core()](std::uint32_t id) { return owns_program(core, id); }),
      multipath(f.nexthops(), netns), promiscuity(events, netns, state, loads, f.core(), s, after, report)
{
    policies.on_change = [this] {
        after.policy_changed();
        news.changed();
    };
    events.watch(socket.fd());
}

/// Reads the messages that wait. Once all are read, begins to load the stale tables.
void mirror::impl::receive_until(ktime_t end)
{
    do {
        const auto got = socket.receive([this](const nlmsghdr &message) { loader.take(message); });
        if (got == netlink_socket::received::overrun) {
            loader.messages_lost();
            rules.lost();
        }
        if (got == netlink_socket::received::nothing && !loader.begin_load_if_due()) {
            return;
        }
    } while (ktime_get() < end);
    loader.begin_load_if_due(); // notifications came without a pause: begins all the same
}

// ---- class mirror ----

mirror::mirror(forwarder &fwd, slow_path &slow, const std::string &netns, unsigned receive_buffer)
    : impl_(std::make_unique<impl>(fwd, slow, netns, receive_buffer))
{
    resync();
}

mirror::~mirror() = default;

int mirror::fd() const noexcept { return impl_->events.fd(); }

void mirror::process()
{
    impl &m = *impl_;
    m.watch.process();
    m.loader.process_timers();
    m.receive_until(ktime_get() + turn_time);
    m.links.look_at_moved();
    m.promiscuity.process();
    m.tender.process();
    m.fwd.reclaim();
    m.room.process();
    m.multipath.process();
    if (on_policy_news) {
        m.news.tell(on_policy_news);
    }
}

void mirror::device_changed(net_device &dev) { impl_->links.device_changed(dev); }

void mirror::resync()
{
    impl &m = *impl_;
    const std::uint64_t before = m.report.stats.resyncs;
    m.loader.demand_load();
    for (;;) {
        process();
        if (m.report.stats.resyncs != before || m.loader.failed_loads() >= load_attempts) {
            return;
        }
        pollfd p{.fd = fd(), .events = POLLIN, .revents = 0};
        poll(&p, 1, -1);
    }
}

bool mirror::settled() const
{
    return impl_->loader.settled() && impl_->promiscuity.settled() && impl_->watch.settled();
}

void mirror::tend_neighbours() { impl_->tender.tend(); }

void mirror::apply(const nlmsghdr &message)
{
    impl_->messages.handle(message);
    impl_->fwd.reclaim();
}

mirror_stats mirror::stats() const
{
    mirror_stats stats = impl_->report.stats;
    stats.special_prefixes = impl_->routes.special_prefixes();
    return stats;
}

policy &mirror::policies() { return impl_->policies; }

} // namespace halfpoll
