// SPDX-License-Identifier: BSD-3-Clause
#include "af_xdp_link.hpp"

#include "ethtool_monitor.hpp"

#include <halfpoll/start_thread.hpp>

#include <linux/rtnetlink.h>
#include <net/if.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <system_error>

namespace halfpoll
{

namespace
{

/// After a request without an answer, and where no message reports a change of queues.
constexpr int LOOK_AGAIN_MS = 1000;

} // namespace

link_news link_news_of(const nlmsghdr &message, int ifindex) noexcept
{
    if (message.nlmsg_type == NLMSG_ERROR) {
        const auto *answer = static_cast<const nlmsgerr *>(NLMSG_DATA(&message));
        const int error = message.nlmsg_len < NLMSG_LENGTH(sizeof *answer) ? -EBADMSG : answer->error;
        return error == 0 ? link_news::none : error == -ENODEV ? link_news::removed : link_news::failed;
    }
    const auto *info = static_cast<const ifinfomsg *>(NLMSG_DATA(&message));
    if (message.nlmsg_len < NLMSG_LENGTH(sizeof *info) || info->ifi_index != ifindex) {
        return link_news::none;
    }
    if (message.nlmsg_type == RTM_DELLINK && info->ifi_family == AF_UNSPEC) {
        return link_news::removed;
    }
    return message.nlmsg_type == RTM_NEWLINK ? link_news::state : link_news::none;
}

link_watcher::link_watcher(const std::string &ifname, int ifindex, std::function<bool()> other_queues,
                           std::function<void(port_event)> notify)
    : ifindex_(ifindex), other_queues_(std::move(other_queues)), notify_(std::move(notify))
{
    netlink_ = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
    stop_ = eventfd(0, EFD_CLOEXEC);
    sockaddr_nl address{};
    address.nl_family = AF_NETLINK;
    address.nl_groups = RTMGRP_LINK;
    if (netlink_ < 0 || stop_ < 0 || bind(netlink_, reinterpret_cast<sockaddr *>(&address), sizeof address) < 0) {
        const int errnum = errno;
        close_all();
        throw_errno(errnum, "af_xdp:" + ifname + ": cannot watch the link through rtnetlink");
    }
    ethtool_ = open_ethtool_monitor();
    request_link(); // the answer also makes run() check the queues
    try {
        const signals_blocked inherited;
        thread_ = start_thread("af_xdp:" + ifname + ": watching the link", [this] { run(); });
    } catch (const error &) {
        close_all();
        throw;
    }
}

link_watcher::~link_watcher()
{
    eventfd_write(stop_, 1);
    thread_.join();
    close_all();
}

void link_watcher::close_all() noexcept
{
    for (const int fd : {netlink_, ethtool_, stop_}) {
        if (fd >= 0) {
            ::close(fd);
        }
    }
}

/// Requests the present state: at the start, and after the socket lost messages.
void link_watcher::request_link()
{
    struct {
        nlmsghdr header;
        ifinfomsg info;
    } request{};
    request.header = {sizeof request, RTM_GETLINK, NLM_F_REQUEST, 1, 0};
    request.info.ifi_index = ifindex_;
    ask_again_ = send(netlink_, &request, sizeof request, 0) < 0;
    known_ &= !ask_again_; // then the next message counts as a change
}

void link_watcher::run()
{
    pollfd fds[3] = {{stop_, POLLIN, 0}, {netlink_, POLLIN, 0}, {ethtool_, POLLIN, 0}}; // poll() ignores a negative fd
    while (!removed_) {
        const int ready = poll(fds, 3, ask_again_ || ethtool_ < 0 ? LOOK_AGAIN_MS : -1);
        if (ready < 0) {
            if (errno == EINTR) {
                continue;
            }
            return;
        }
        if (fds[0].revents) {
            return;
        }
        if (fds[1].revents) {
            receive();
        } else if (ready == 0 && ask_again_) {
            request_link();
        }
        if (fds[2].revents) {
            receive_ethtool();
        }
        look_at_queues();
    }
}

/// Empties the socket. Which setting of which interface has changed does not matter: the caller checks the queues.
void link_watcher::receive_ethtool()
{
    char message[1024]; // a longer message is cut off
    while (recv(ethtool_, message, sizeof message, 0) >= 0 || errno == ENOBUFS) {
    }
}

void link_watcher::look_at_queues()
{
    if (!removed_ && !queues_told_ && other_queues_()) {
        queues_told_ = true;
        notify_(port_event::queues);
    }
}

void link_watcher::receive()
{
    alignas(nlmsghdr) char buffer[32768];
    sockaddr_nl sender{};
    socklen_t size = sizeof sender;
    const ssize_t n = recvfrom(netlink_, buffer, sizeof buffer, 0, reinterpret_cast<sockaddr *>(&sender), &size);
    if (n < 0) {
        if (errno == ENOBUFS) {
            request_link();
        }
        return;
    }
    if (sender.nl_pid != 0) { // a message of another program
        return;
    }
    auto left = static_cast<std::uint32_t>(n);
    for (auto *h = reinterpret_cast<nlmsghdr *>(buffer); NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
        const link_news news = link_news_of(*h, ifindex_);
        if (news == link_news::removed) {
            removed_ = true;
            notify_(port_event::removed);
            return;
        }
        ask_again_ |= news == link_news::failed;
        if (news != link_news::state) {
            continue;
        }
        ask_again_ = false;
        const unsigned flags = static_cast<const ifinfomsg *>(NLMSG_DATA(h))->ifi_flags & (IFF_UP | IFF_RUNNING);
        if (!known_ || flags != flags_) {
            known_ = true;
            flags_ = flags;
            notify_(port_event::link);
        }
    }
}

} // namespace halfpoll
