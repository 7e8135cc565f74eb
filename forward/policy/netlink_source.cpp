// SPDX-License-Identifier: BSD-3-Clause
#include "netlink_source.hpp"

#include "forward/netlink/attributes.hpp"

#include <halfpoll/error.hpp>

#include <algorithm>
#include <utility>

namespace halfpoll
{

namespace
{
constexpr ktime_t turn_time = 20 * NSEC_PER_MSEC; // after which process() returns to the control loop
constexpr ktime_t retry_pause = 200 * NSEC_PER_MSEC;
constexpr ktime_t stall_time = NSEC_PER_SEC;
constexpr ktime_t longest_pause = NSEC_PER_SEC;
constexpr int pause_share = 3; // the pause after an inspection, as a multiple of its duration
} // namespace

netlink_source::netlink_source(policy &policies, policy_kind kind, const epoll_set &events)
    : policies_(policies), kind_(kind), events_(events), timer_(events)
{
    timer_.arm(0); // the first process() opens the socket
}

void netlink_source::process()
{
    timer_.take_expiry();
    try {
        if (!socket_ && !absent_ && ktime_get() >= due_) {
            start();
        }
        if (socket_) {
            read();
        }
    } catch (const error &e) {
        lose(e.what());
    }
    publish();
}

bool netlink_source::settled() const { return absent_ || (known_ && !inspecting_ && !stale_ && !socket_->readable()); }

void netlink_source::start()
{
    socket_ = open();
    if (socket_) {
        events_.watch(socket_->fd());
        stale_ = true;
    } else {
        absent_ = true;
        policies_.replace(kind_, {});
    }
}

void netlink_source::lose(const std::string &why)
{
    known_ = false;
    policies_.doubt(kind_, why);
    disturb();
    anew_ = true;
    due_ = ktime_get() + retry_pause;
    timer_.arm(retry_pause);
}

void netlink_source::read()
{
    const ktime_t end = ktime_get() + turn_time;
    do {
        const auto got = socket_->receive([this](const nlmsghdr &message) { take(message); });
        if (got == netlink_socket::received::overrun) {
            lose("messages of the kernel were lost");
        }
        if (got == netlink_socket::received::nothing && !begin_if_due()) {
            return;
        }
    } while (ktime_get() < end);
    begin_if_due(); // notifications came without a pause: begins all the same
}

/// True if the end of an answer was lost.
bool netlink_source::stalled()
{
    const ktime_t left = heard_ + stall_time - ktime_get();
    if (left > 0) {
        timer_.arm(left);
        return false;
    }
    inspecting_ = false;
    lose("the kernel does not answer");
    return true;
}

/// A pause lies between inspections, so that a flood of notifications leaves most of the thread's time to others. What
/// makes the fast path unsafe does not wait for it: the notification itself says so.
bool netlink_source::begin_if_due()
{
    if ((inspecting_ && !stalled()) || !stale_) {
        return false;
    }
    const ktime_t now = ktime_get();
    if (now < due_) {
        timer_.arm(due_ - now);
        return false;
    }
    began_ = now;
    stale_ = disturbed_ = false;
    inspecting_ = true;
    begin(std::exchange(anew_, false));
    request_next();
    return true;
}

void netlink_source::take(const nlmsghdr &message)
{
    if (!socket_->is_reply(message)) {
        if (!socket_->is_late_reply(message)) {
            take_notification(message);
        }
        return;
    }
    if (!inspecting_) {
        return; // an answer that was given up
    }
    heard_ = ktime_get();
    if ((message.nlmsg_flags & NLM_F_DUMP_INTR) != 0) {
        disturb();
    }
    if (message.nlmsg_type != NLMSG_ERROR && message.nlmsg_type != NLMSG_DONE) {
        take_reply(message);
        return;
    }
    const int errnum = mnl_nlmsg_get_payload_len(&message) >= sizeof(int) ? -copy_header<int>(message) : 0;
    if (errnum != 0 && !harmless(errnum)) {
        inspecting_ = false;
        throw_errno(errnum, "request");
    }
    request_next();
}

void netlink_source::request_next()
{
    const ktime_t now = ktime_get();
    heard_ = now;
    if (send_request(*socket_)) {
        return;
    }
    timer_.disarm();
    due_ = now + std::min((now - began_) * pause_share, longest_pause);
    inspecting_ = false;
    if (!disturbed_) {
        complete();
        known_ = changed_ = true;
    }
}

void netlink_source::publish()
{
    if (known_ && std::exchange(changed_, false)) {
        policies_.replace(kind_, reasons());
    }
}

} // namespace halfpoll
