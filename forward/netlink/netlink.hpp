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

/// A netlink socket in one namespace that receives notifications and replies through one queue. Notifications arrive
/// in the order of the changes. A dump entry may be older than a notification that came before it, since the kernel
/// need not hold a lock while it dumps; part() and reads() show which entries may be. One thread.
class netlink_socket
{
public:
    using handler = std::function<void(const nlmsghdr &)>;

    /// Joins the groups of a protocol (NETLINK_ROUTE and RTNLGRP_*, …). `receive_buffer`: bytes that the kernel may
    /// queue. Throws `error`.
    netlink_socket(const std::string &netns, int protocol, std::initializer_list<int> groups, unsigned receive_buffer);

    /// False: the kernel lacks the protocol.
    static bool supported(int protocol) noexcept;

    int fd() const noexcept;

    enum class received {
        some,    ///< messages were passed to the handler
        nothing, ///< no message is waiting
        overrun, ///< the kernel had to drop messages
    };
    /// Passes the messages of one read to `handle`; skips messages that are not from the kernel. Throws `error` if the
    /// socket is broken.
    received receive(const handler &handle);
    bool readable() const noexcept;

    /// Sends a request, whose sequence number this sets. receive() then passes on the reply, up to NLMSG_DONE or
    /// NLMSG_ERROR if the flags of the message ask for one. Throws `error`.
    void request(nlmsghdr &message);
    /// Requests a dump of rtnetlink (RTM_GET…). receive() then passes on its entries up to NLMSG_DONE or NLMSG_ERROR,
    /// with notifications among them. The end of a dump must be read before the next request. Throws `error`.
    void request_dump(int type, std::uint8_t family);
    /// Requests a dump of the interfaces of one kind (RTM_GETLINK), as request_dump(). An old kernel shows all. Throws
    /// `error`.
    void request_links(const std::string &kind);
    /// Rtnetlink: requests an acknowledgement (NLMSG_ERROR) that the kernel sends only after it has taken its
    /// configuration lock (RTNL). A change whose notification was read before the acknowledgement is then complete,
    /// including its consequences, since the kernel holds the lock from before the notification to the end of the
    /// change. Throws `error`.
    void request_turn();
    /// True if the message answers the last request.
    bool is_reply(const nlmsghdr &message) const noexcept;
    /// True if the message answers an earlier request.
    bool is_late_reply(const nlmsghdr &message) const noexcept;
    /// Number of reads since the last request, including the present one.
    std::uint64_t reads() const noexcept { return reads_; }
    /// Index, from 0, of the dump part that receive() is passing on. The kernel produces at most one part per read, so
    /// that it produced this part after at least that many reads: a notification from a later read may be newer.
    std::uint64_t part() const noexcept { return parts_; }
    /// Rtnetlink: reports to the kernel that a neighbour is in use (NTF_USE), as if the kernel had sent it a packet:
    /// the kernel resolves an unknown neighbour and probes a stale one. A refusal comes back as NLMSG_ERROR. Returns
    /// false if there is no room for the message now.
    bool use_neighbour(int ifindex, const ip_addr &addr);

private:
    ssize_t read();

    std::string name_; ///< for errors
    std::unique_ptr<mnl_socket, int (*)(mnl_socket *)> socket_;
    std::vector<char> buffer_;
    std::uint32_t sequence_ = 0; ///< sequence number of the last request
    std::uint64_t reads_ = 0;
    std::uint64_t parts_ = 0;
};

} // namespace halfpoll
