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

namespace halfpoll
{

namespace
{
constexpr std::size_t read_size = 65536;
constexpr int dump_timeout_ms = 1000; // between two messages of one dump
constexpr int reads_at_once = 1000;   // so that a storm of notifications does not hold up a dump for ever
} // namespace

netlink_socket::netlink_socket(const std::string &netns, std::initializer_list<int> groups, unsigned receive_buffer)
    : socket_(nullptr, mnl_socket_close), buffer_(read_size)
{
    const netns_scope scope(netns);
    socket_.reset(mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!socket_ || mnl_socket_bind(socket_.get(), 0, MNL_SOCKET_AUTOPID) < 0) {
        throw_errno(errno, "rtnetlink socket");
    }
    const int size = static_cast<int>(receive_buffer / 2); // the kernel doubles it
    if (setsockopt(fd(), SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) != 0 &&
        setsockopt(fd(), SOL_SOCKET, SO_RCVBUF, &size, sizeof size) != 0) {
        throw_errno(errno, "rtnetlink socket: receive buffer");
    }
    for (int group : groups) {
        if (mnl_socket_setsockopt(socket_.get(), NETLINK_ADD_MEMBERSHIP, &group, sizeof group) < 0) {
            throw_errno(errno, "rtnetlink socket: joining group " + std::to_string(group));
        }
    }
}

int netlink_socket::fd() const noexcept { return mnl_socket_get_fd(socket_.get()); }

netlink_socket::received netlink_socket::receive(const handler &handle)
{
    const ssize_t got = mnl_socket_recvfrom(socket_.get(), buffer_.data(), buffer_.size());
    if (got < 0) {
        switch (errno) {
        case EAGAIN:
        case EINTR:
            return received::nothing;
        case ENOBUFS:
        case ENOSPC: // a message longer than the buffer is as good as lost
            return received::overrun;
        default:
            throw_errno(errno, "rtnetlink socket: receive");
        }
    }
    int left = static_cast<int>(got);
    const auto *message = reinterpret_cast<const nlmsghdr *>(buffer_.data());
    for (; mnl_nlmsg_ok(message, left); message = mnl_nlmsg_next(message, &left)) {
        handle(*message);
    }
    return received::some;
}

bool netlink_socket::is_dump_reply(const nlmsghdr &message) const noexcept
{
    return message.nlmsg_seq == sequence_ && message.nlmsg_pid == mnl_socket_get_portid(socket_.get());
}

void netlink_socket::request(int type, std::uint8_t family)
{
    char space[MNL_NLMSG_HDRLEN + MNL_ALIGN(sizeof(rtmsg))] = {};
    nlmsghdr *message = mnl_nlmsg_put_header(space);
    message->nlmsg_type = static_cast<std::uint16_t>(type);
    message->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    message->nlmsg_seq = ++sequence_;
    // Not a byte more than the header, where the kernel is strict about it. They all begin with the family.
    const std::size_t size = type == RTM_GETNEXTHOP ? sizeof(nhmsg) : sizeof(rtmsg);
    static_cast<rtgenmsg *>(mnl_nlmsg_put_extra_header(message, size))->rtgen_family = family;
    if (mnl_socket_sendto(socket_.get(), message, message->nlmsg_len) < 0) {
        throw_errno(errno, "rtnetlink socket: request");
    }
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
        throw_errno(errno, "rtnetlink socket: neighbour");
    }
    return false;
}

bool netlink_socket::wait_readable() const
{
    pollfd p{.fd = fd(), .events = POLLIN, .revents = 0};
    int n;
    do {
        n = poll(&p, 1, dump_timeout_ms);
    } while (n < 0 && errno == EINTR);
    return n > 0;
}

netlink_socket::dumped netlink_socket::dump(int type, std::uint8_t family, const handler &handle)
{
    bool done = false;
    bool interrupted = false;
    bool overrun = false;
    received last = received::some;
    for (int i = 0; i < reads_at_once && last != received::nothing; ++i) { // the request needs room in the queue
        last = receive(handle);
        overrun |= last == received::overrun;
    }
    request(type, family);
    int failure = 0;
    const handler filter = [&](const nlmsghdr &message) {
        if (!is_dump_reply(message)) {
            handle(message);
            return;
        }
        interrupted |= (message.nlmsg_flags & NLM_F_DUMP_INTR) != 0;
        if (message.nlmsg_type == NLMSG_DONE) {
            done = true;
        } else if (message.nlmsg_type == NLMSG_ERROR) {
            failure = -static_cast<const nlmsgerr *>(mnl_nlmsg_get_payload(&message))->error;
            done = true;
        } else {
            handle(message);
        }
    };
    while (!done) {
        if (!wait_readable()) {
            return dumped::overrun; // its end was lost
        }
        overrun |= receive(filter) == received::overrun;
    }
    if (failure == ENOBUFS) {
        return dumped::overrun;
    }
    if (failure != 0 && failure != EOPNOTSUPP && failure != EAFNOSUPPORT) { // a family that this kernel has not got
        throw_errno(failure, "rtnetlink socket: dump");
    }
    return overrun ? dumped::overrun : interrupted ? dumped::interrupted : dumped::complete;
}

} // namespace halfpoll
