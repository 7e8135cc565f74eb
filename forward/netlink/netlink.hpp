// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "forward/tables/ip_prefix.hpp"

#include <halfpoll/error.hpp>

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <linux/netlink.h>
#include <memory>
#include <string>
#include <sys/types.h>
#include <vector>

struct mnl_socket;

namespace halfpoll
{

/// An rtnetlink socket of one namespace that gets notifications and replies through one queue. Notifications are in the
/// order of the changes. An entry of a dump may be older than a notification before it, since the kernel need not hold
/// a lock while it dumps: part() and reads() tell. One thread.
class netlink_socket
{
public:
    using handler = std::function<void(const nlmsghdr &)>;

    /// Joins groups (RTNLGRP_*). `receive_buffer`: bytes that the kernel may queue. Throws `error`.
    netlink_socket(const std::string &netns, std::initializer_list<int> groups, unsigned receive_buffer);

    int fd() const noexcept;

    enum class received {
        some,    ///< messages were handed on
        nothing, ///< none is waiting
        overrun, ///< the kernel had to drop messages
    };
    /// Hands on what one read brings; what is not from the kernel is left out. Throws `error` if the socket is broken.
    received receive(const handler &handle);
    bool readable() const noexcept;

    /// Asks for a table (RTM_GET…): receive() then hands on its entries up to NLMSG_DONE or NLMSG_ERROR, notifications
    /// among them. The end of a dump must be read before the next request. Throws `error`.
    void request_dump(int type, std::uint8_t family);
    /// Asks for an acknowledgement (NLMSG_ERROR) that the kernel gives only after it has taken its configuration lock
    /// (RTNL). A change whose notification was read before is then complete, with all that follows from it, since the
    /// kernel holds the lock from before the notification to the end. Throws `error`.
    void request_turn();
    /// The message answers the last request.
    bool is_reply(const nlmsghdr &message) const noexcept;
    /// The message answers an earlier request.
    bool is_late_reply(const nlmsghdr &message) const noexcept;
    /// Reads since the last request, the present one included.
    std::uint64_t reads() const noexcept { return reads_; }
    /// Number of the part of the dump that is handed on, from 0. The kernel makes at most one part a read, so this one
    /// was made after that many reads: a notification of a later read may be newer.
    std::uint64_t part() const noexcept { return parts_; }
    /// Tells the kernel that a neighbour is in use (NTF_USE), as if it had sent it a packet: one that it does not know
    /// it looks for, one that it has not heard of for long it asks. A refusal comes back as NLMSG_ERROR. False: no room
    /// for the message now.
    bool use_neighbour(int ifindex, const ip_addr &addr);

private:
    void send(const nlmsghdr &message);
    ssize_t read();

    std::unique_ptr<mnl_socket, int (*)(mnl_socket *)> socket_;
    std::vector<char> buffer_;
    std::uint32_t sequence_ = 0; ///< of the last request
    std::uint64_t reads_ = 0;
    std::uint64_t parts_ = 0;
};

} // namespace halfpoll
