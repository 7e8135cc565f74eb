// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/port.hpp>

#include <functional>
#include <linux/netlink.h>
#include <string>
#include <thread>

namespace halfpoll
{

/// The news about an interface in an rtnetlink message.
enum class link_news {
    none,
    state,   ///< RTM_NEWLINK: the interface exists
    removed, ///< RTM_DELLINK, or the answer that there is no such interface
    failed,  ///< the kernel could not answer
};
link_news link_news_of(const nlmsghdr &message, int ifindex) noexcept;

/// Watches one interface of the constructing thread's namespace through rtnetlink and ethtool notifications, on a
/// thread of its own. Reports carrier changes, a change of the number of queues, and removal. Control thread.
class link_watcher
{
public:
    /// Both functions run on the watcher's thread and outlive the watcher. `other_queues` returns whether the number of
    /// the interface's queues differs from the one at open(); the watcher reports that once. Throws `error`.
    link_watcher(const std::string &ifname, int ifindex, std::function<bool()> other_queues,
                 std::function<void(port_event)> notify);
    /// After it returns, no notification runs or comes.
    ~link_watcher();
    link_watcher(const link_watcher &) = delete;
    link_watcher &operator=(const link_watcher &) = delete;

private:
    void run();
    void receive();
    void receive_ethtool();
    void look_at_queues();
    void request_link();
    void close_all() noexcept;

    int ifindex_;
    std::function<bool()> other_queues_;
    std::function<void(port_event)> notify_;
    int netlink_ = -1;
    int ethtool_ = -1; ///< -1: the kernel sends no notifications, so the queues are checked once a second
    int stop_ = -1;
    bool removed_ = false;
    bool queues_told_ = false;
    unsigned flags_ = 0; ///< last seen values of IFF_UP and IFF_RUNNING
    bool known_ = false;
    bool ask_again_ = false; ///< the last request got no answer
    std::thread thread_;
};

} // namespace halfpoll
