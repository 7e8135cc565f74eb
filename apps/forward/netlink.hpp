// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "ip_prefix.hpp"

#include <halfpoll/error.hpp>

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <linux/netlink.h>
#include <memory>
#include <string>
#include <vector>

struct mnl_socket;

namespace halfpoll
{

/// An rtnetlink socket of one namespace that gets notifications and dumps through the same queue: what arrives later is
/// newer. One thread.
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
    /// Hands on what one read brings. Throws `error` if the socket is broken.
    received receive(const handler &handle);

    enum class dumped {
        complete,
        interrupted, ///< the table changed meanwhile: something may be missing
        overrun,     ///< messages were dropped meanwhile
    };
    /// Asks for a table (RTM_GET…) and hands on its entries, and the notifications among them, until it is complete.
    /// Throws `error`.
    dumped dump(int type, std::uint8_t family, const handler &handle);
    /// Tells the kernel that a neighbour is in use (NTF_USE), as if it had sent it a packet: one that it does not know
    /// it looks for, one that it has not heard of for long it asks. A refusal comes back as NLMSG_ERROR. False: no room
    /// for the message now.
    bool use_neighbour(int ifindex, const ip_addr &addr);
    /// The message belongs to the dump that runs.
    bool is_dump_reply(const nlmsghdr &message) const noexcept;

private:
    void request(int type, std::uint8_t family);
    bool wait_readable() const;

    std::unique_ptr<mnl_socket, int (*)(mnl_socket *)> socket_;
    std::vector<char> buffer_;
    std::uint32_t sequence_ = 0;
};

} // namespace halfpoll
