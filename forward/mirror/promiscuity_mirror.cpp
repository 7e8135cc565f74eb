// SPDX-License-Identifier: BSD-3-Clause
#include "promiscuity_mirror.hpp"

#include "forward/netlink/netlink_parse.hpp"

#include <halfpoll/error.hpp>

#include <algorithm>
#include <iterator>
#include <linux/rtnetlink.h>
#include <utility>
#include <vector>

namespace halfpoll
{

namespace
{
constexpr unsigned receive_buffer = 1 << 18;
constexpr ktime_t look_period = NSEC_PER_SEC;
} // namespace

promiscuity_mirror::promiscuity_mirror(const epoll_set &events, const std::string &netns, kernel_state &state,
                                       load_state &loads, net_core &core, slow_path &slow, consequences &c,
                                       mirror_report &report)
    : socket_(netns, NETLINK_ROUTE, {}, receive_buffer), timer_(events), state_(state), loads_(loads), core_(core),
      slow_(slow), consequences_(c), report_(report)
{
    events.watch(socket_.fd());
    timer_.arm_every(look_period);
}

void promiscuity_mirror::process()
{
    loads_.links_moved |= timer_.take_expiry();
    if (!asked_ && std::exchange(loads_.links_moved, false)) {
        seen_.clear();
        asked_ = true;
        socket_.request_links("tun");
    }
    for (auto got = netlink_socket::received::some; asked_ && got != netlink_socket::received::nothing;) {
        got = socket_.receive([this](const nlmsghdr &message) { take(message); });
        if (got == netlink_socket::received::overrun) { // the end of the dump is lost
            asked_ = false;
            loads_.links_moved = true;
            return;
        }
    }
}

void promiscuity_mirror::take(const nlmsghdr &message)
{
    if (!socket_.is_reply(message) || !asked_) {
        return;
    }
    loads_.links_moved |= (message.nlmsg_flags & NLM_F_DUMP_INTR) != 0;
    if (message.nlmsg_type == NLMSG_ERROR) {
        asked_ = false; // the timer asks again
    } else if (message.nlmsg_type == NLMSG_DONE) {
        asked_ = false;
        apply();
    } else if (const auto link = parse_link(message); link && link->promiscuous) {
        seen_.insert(link->ifindex);
    }
}

void promiscuity_mirror::apply()
{
    std::erase_if(seen_, [this](int ifindex) { return slow_.of_kernel_ifindex(ifindex) == nullptr; });
    std::vector<int> changed;
    std::ranges::set_symmetric_difference(seen_, state_.promiscuous, std::back_inserter(changed));
    state_.promiscuous = seen_;
    std::ranges::for_each(changed, [this](int ifindex) { consequences_.ingress_changed(ifindex); });
    open_filters();
}

/// Makes the ports receive what their shadows take. What a shadow takes in another namespace is not known.
void promiscuity_mirror::open_filters()
{
    for (const shadow *s : slow_.shadows()) {
        const bool wanted = s->moved || state_.promiscuous.contains(s->kernel_ifindex);
        if (wanted == s->dev->unfiltered) {
            refusing_.erase(s->dev);
            continue;
        }
        try {
            core_.set_unfiltered(*s->dev, wanted);
        } catch (const error &e) {
            if (refusing_.insert(s->dev).second) {
                report_.complain(e.what());
            }
        }
    }
}

} // namespace halfpoll
