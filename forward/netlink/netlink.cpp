// SPDX-License-Identifier: BSD-3-Clause
#include "netlink.hpp"

#include <halfpoll/netns.hpp>

#include <libmnl/libmnl.h>

#include <cerrno>
#include <linux/neighbour.h>
#include <linux/nexthop.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace halfpoll
{

namespace
{
constexpr std::size_t read_size = 65536;
constexpr int loopback_ifindex = 1; // the same in every namespace

std::string name_of(int protocol)
{
    return protocol == NETLINK_ROUTE ? "rtnetlink socket" : "netlink socket of protocol " + std::to_string(protocol);
}

} // namespace

netlink_socket::netlink_socket(const std::string &netns, int protocol, std::initializer_list<int> groups,
                               unsigned receive_buffer)
    : name_(name_of(protocol)), socket_(nullptr, mnl_socket_close), buffer_(read_size)
{
    const netns_scope scope(netns);
    socket_.reset(mnl_socket_open2(protocol, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!socket_ || mnl_socket_bind(socket_.get(), 0, MNL_SOCKET_AUTOPID) < 0) {
        throw_errno(errno, name_);
    }
    const int size = static_cast<int>(receive_buffer / 2); // the kernel doubles it
    if (setsockopt(fd(), SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) != 0 &&
        setsockopt(fd(), SOL_SOCKET, SO_RCVBUF, &size, sizeof size) != 0) {
        throw_errno(errno, name_ + ": receive buffer");
    }
    for (int group : groups) {
        if (mnl_socket_setsockopt(socket_.get(), NETLINK_ADD_MEMBERSHIP, &group, sizeof group) < 0) {
            throw_errno(errno, name_ + ": joining group " + std::to_string(group));
        }
    }
}

bool netlink_socket::supported(int protocol) noexcept
{
    const int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
    if (fd >= 0) {
        close(fd);
    }
    return fd >= 0 || errno != EPROTONOSUPPORT;
}

int netlink_socket::fd() const noexcept { return mnl_socket_get_fd(socket_.get()); }

bool netlink_socket::readable() const noexcept
{
    pollfd p{.fd = fd(), .events = POLLIN, .revents = 0};
    return poll(&p, 1, 0) > 0;
}

/// Reads the next message that comes from the kernel (any process with CAP_NET_ADMIN may send to the socket). Returns
/// its length, or -1 with errno set.
ssize_t netlink_socket::read()
{
    for (;;) {
        sockaddr_nl sender{};
        iovec space{.iov_base = buffer_.data(), .iov_len = buffer_.size()};
        msghdr header{};
        header.msg_name = &sender;
        header.msg_namelen = sizeof sender;
        header.msg_iov = &space;
        header.msg_iovlen = 1;
        const ssize_t got = recvmsg(fd(), &header, 0);
        if (got >= 0) {
            ++reads_;
        }
        if (got >= 0 && (header.msg_flags & MSG_TRUNC)) {
            errno = ENOSPC;
            return -1;
        }
        if (got < 0 || sender.nl_pid == 0) {
            return got;
        }
    }
}

netlink_socket::received netlink_socket::receive(const handler &handle)
{
    const ssize_t got = read();
    if (got < 0) {
        switch (errno) {
        case EAGAIN:
        case EINTR:
            return received::nothing;
        case ENOBUFS:
        case ENOSPC: // MSG_TRUNC: a message longer than the buffer is lost
            return received::overrun;
        default:
            throw_errno(errno, name_ + ": receive");
        }
    }
    const std::uint32_t request = sequence_;
    bool replies = false;
    int left = static_cast<int>(got);
    const auto *message = reinterpret_cast<const nlmsghdr *>(buffer_.data());
    for (; mnl_nlmsg_ok(message, left); message = mnl_nlmsg_next(message, &left)) {
        replies |= is_reply(*message);
        handle(*message);
    }
    parts_ += replies && request == sequence_ ? 1 : 0;
    return received::some;
}

bool netlink_socket::is_reply(const nlmsghdr &message) const noexcept
{
    return message.nlmsg_seq == sequence_ && message.nlmsg_pid == mnl_socket_get_portid(socket_.get());
}

bool netlink_socket::is_late_reply(const nlmsghdr &message) const noexcept
{
    return message.nlmsg_seq != sequence_ && message.nlmsg_seq != 0 &&
           message.nlmsg_pid == mnl_socket_get_portid(socket_.get());
}

void netlink_socket::request(nlmsghdr &message)
{
    message.nlmsg_seq = ++sequence_;
    reads_ = parts_ = 0;
    if (mnl_socket_sendto(socket_.get(), &message, message.nlmsg_len) < 0) {
        throw_errno(errno, name_ + ": request");
    }
}

void netlink_socket::request_dump(int type, std::uint8_t family)
{
    char space[MNL_NLMSG_HDRLEN + MNL_ALIGN(sizeof(rtmsg))] = {};
    nlmsghdr *message = mnl_nlmsg_put_header(space);
    message->nlmsg_type = static_cast<std::uint16_t>(type);
    message->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    // RTM_GETNEXTHOP: the kernel rejects bytes beyond the header. All these headers begin with the family.
    const std::size_t size = type == RTM_GETNEXTHOP ? sizeof(nhmsg) : sizeof(rtmsg);
    static_cast<rtgenmsg *>(mnl_nlmsg_put_extra_header(message, size))->rtgen_family = family;
    request(*message);
}

void netlink_socket::request_links(const std::string &kind)
{
    char space[MNL_NLMSG_HDRLEN + MNL_ALIGN(sizeof(ifinfomsg)) + 128] = {};
    nlmsghdr *message = mnl_nlmsg_put_header(space);
    message->nlmsg_type = RTM_GETLINK;
    message->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    mnl_nlmsg_put_extra_header(message, sizeof(ifinfomsg));
    mnl_attr_put_u32(message, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    nlattr *info = mnl_attr_nest_start(message, IFLA_LINKINFO);
    mnl_attr_put_strz(message, IFLA_INFO_KIND, kind.c_str());
    mnl_attr_nest_end(message, info);
    request(*message);
}

/// Sends RTM_SETLINK: every kernel takes RTNL for a link change, even for one that changes nothing; for a query it need
/// not.
void netlink_socket::request_turn()
{
    char space[MNL_NLMSG_HDRLEN + MNL_ALIGN(sizeof(ifinfomsg))] = {};
    nlmsghdr *message = mnl_nlmsg_put_header(space);
    message->nlmsg_type = RTM_SETLINK;
    message->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
    static_cast<ifinfomsg *>(mnl_nlmsg_put_extra_header(message, sizeof(ifinfomsg)))->ifi_index = loopback_ifindex;
    request(*message);
}

bool netlink_socket::use_neighbour(int ifindex, const ip_addr &addr)
{
    char space[MNL_NLMSG_HDRLEN + MNL_ALIGN(sizeof(ndmsg)) + 64] = {};
    nlmsghdr *message = mnl_nlmsg_put_header(space);
    message->nlmsg_type = RTM_NEWNEIGH;
    message->nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE;
    auto *header = static_cast<ndmsg *>(mnl_nlmsg_put_extra_header(message, sizeof(ndmsg)));
    header->ndm_family = addr.family;
    header->ndm_ifindex = ifindex;
    header->ndm_flags = NTF_USE;
    mnl_attr_put(message, NDA_DST, address_bits(addr.family) / 8, addr.bytes.data());
    if (mnl_socket_sendto(socket_.get(), message, message->nlmsg_len) >= 0) {
        return true;
    }
    if (errno != EAGAIN && errno != ENOBUFS) {
        throw_errno(errno, name_ + ": neighbour");
    }
    return false;
}

} // namespace halfpoll
