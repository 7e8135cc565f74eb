// SPDX-License-Identifier: BSD-3-Clause
#include "link_request.hpp"

#include <algorithm>
#include <cstring>
#include <sys/socket.h>
#include <unistd.h>

namespace halfpoll
{

link_request::link_request(std::uint16_t type, std::uint16_t flags, int ifindex)
{
    header_.nlmsg_type = type;
    header_.nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | flags);
    ifinfomsg info{};
    info.ifi_index = ifindex;
    put(&info, sizeof info);
}

void link_request::text(std::uint16_t type, const std::string &value)
{
    const rtattr attr{static_cast<std::uint16_t>(RTA_LENGTH(value.size() + 1)), type};
    put(&attr, sizeof attr);
    put(value.c_str(), value.size() + 1);
}

void link_request::nest(std::uint16_t type)
{
    const rtattr attr{0, static_cast<std::uint16_t>(type | NLA_F_NESTED)};
    nested_at_ = body_.size();
    put(&attr, sizeof attr);
}

void link_request::put(const void *data, std::size_t size)
{
    const auto *bytes = static_cast<const std::byte *>(data);
    body_.insert(body_.end(), bytes, bytes + size);
    body_.resize(NLMSG_ALIGN(body_.size()));
}

std::vector<std::byte> link_request::send()
{
    if (nested_at_ != 0) {
        const auto length = static_cast<std::uint16_t>(body_.size() - nested_at_);
        std::memcpy(&body_[nested_at_ + offsetof(rtattr, rta_len)], &length, sizeof length);
    }
    header_.nlmsg_len = static_cast<std::uint32_t>(NLMSG_LENGTH(body_.size()));
    std::vector<std::byte> message(sizeof header_);
    std::memcpy(message.data(), &header_, sizeof header_);
    message.insert(message.end(), body_.begin(), body_.end());
    std::vector<std::byte> reply;
    const int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    sockaddr_nl kernel{};
    kernel.nl_family = AF_NETLINK;
    const auto *to = reinterpret_cast<const sockaddr *>(&kernel);
    if (fd >= 0 && sendto(fd, message.data(), message.size(), 0, to, sizeof kernel) >= 0) {
        constexpr std::size_t room = 32768; // enough for an answer about one link
        reply.resize(room);
        const ssize_t got = recv(fd, reply.data(), reply.size(), 0);
        reply.resize(static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
    }
    if (fd >= 0) {
        close(fd);
    }
    return reply;
}

std::span<const std::byte> link_attributes(std::span<const std::byte> reply) noexcept
{
    const auto *header = reinterpret_cast<const nlmsghdr *>(reply.data());
    if (reply.empty() || !NLMSG_OK(header, reply.size()) || header->nlmsg_type != RTM_NEWLINK ||
        header->nlmsg_len < NLMSG_LENGTH(sizeof(ifinfomsg))) {
        return {};
    }
    constexpr std::size_t before = NLMSG_SPACE(sizeof(ifinfomsg));
    return reply.subspan(before, header->nlmsg_len - before);
}

std::string text_of(std::span<const std::byte> payload)
{
    const auto *text = reinterpret_cast<const char *>(payload.data());
    return {text, strnlen(text, payload.size())};
}

} // namespace halfpoll
