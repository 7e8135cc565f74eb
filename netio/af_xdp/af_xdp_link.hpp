// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/port.hpp>

#include <functional>
#include <linux/netlink.h>
#include <string>
#include <thread>

namespace halfpoll
{

/// What an rtnetlink message says of an interface.
enum class link_news {
    none,
    state,   ///< RTM_NEWLINK: it is there
    removed, ///< RTM_DELLINK, or the answer that there is no such interface
    failed,  ///< the kernel could not answer
};
link_news link_news_of(const nlmsghdr &message, int ifindex) noexcept;

/// Watches one interface of the constructing thread's namespace through rtnetlink and ethtool's notifications, on a
/// thread of its own, and reports carrier changes, another number of queues, and removal. Control thread.
class link_watcher
{
public:
    /// Both functions run on the watcher's thread; `other_queues` says whether the interface has another number of them
    /// than it was opened with, which is reported once. Throws `error`.
    link_watcher(const std::string &ifname, int ifindex, std::function<bool()> other_queues,
                 std::function<void(port_event)> notify);
    /// No notification runs or comes after it returns.
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
    int ethtool_ = -1; ///< -1: the kernel does not tell, so it is looked now and then
    int stop_ = -1;
    bool removed_ = false;
    bool queues_told_ = false;
    unsigned flags_ = 0; ///< last seen, of IFF_UP and IFF_RUNNING
    bool known_ = false;
    bool ask_again_ = false; ///< the last question got no answer
    std::thread thread_;
};

} // namespace halfpoll
