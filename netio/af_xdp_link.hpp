// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/port.hpp>

#include <functional>
#include <string>
#include <thread>

namespace halfpoll
{

/// Watches one interface of the constructing thread's namespace through rtnetlink, on a thread of its own, and reports
/// carrier changes and removal. Control thread.
class link_watcher
{
public:
    /// `notify` runs on the watcher's thread. Throws `error`.
    link_watcher(const std::string &ifname, int ifindex, std::function<void(port_event)> notify);
    /// No notification runs or comes after it returns.
    ~link_watcher();
    link_watcher(const link_watcher &) = delete;
    link_watcher &operator=(const link_watcher &) = delete;

private:
    void run();
    void receive();
    void request_link();

    int ifindex_;
    std::function<void(port_event)> notify_;
    int netlink_ = -1;
    int stop_ = -1;
    bool removed_ = false;
    unsigned flags_ = 0; ///< last seen, of IFF_UP and IFF_RUNNING
    bool known_ = false;
    std::thread thread_;
};

} // namespace halfpoll
