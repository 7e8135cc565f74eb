// SPDX-License-Identifier: BSD-3-Clause
#include "shadow_identity.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <span>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

namespace halfpoll
{

namespace
{

constexpr const char *PREFIX = "halfpoll-";

/// An rtnetlink request about a link, and its answer.
class link_request
{
public:
    link_request(std::uint16_t type, std::uint16_t flags, int ifindex)
    {
        header_.nlmsg_type = type;
        header_.nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | flags);
        ifinfomsg info{};
        info.ifi_index = ifindex;
        put(&info, sizeof info);
    }
    void text(std::uint16_t type, const std::string &value)
    {
        const rtattr attr{static_cast<std::uint16_t>(RTA_LENGTH(value.size() + 1)), type};
        put(&attr, sizeof attr);
        put(value.c_str(), value.size() + 1);
    }
    /// The attributes that follow are nested in it.
    void nest(std::uint16_t type)
    {
        const rtattr attr{0, static_cast<std::uint16_t>(type | NLA_F_NESTED)};
        nested_at_ = body_.size();
        put(&attr, sizeof attr);
    }
    /// Sends the request and returns the answer with its header; empty: there is none.
    std::vector<std::byte> send();

private:
    void put(const void *data, std::size_t size)
    {
        const auto *bytes = static_cast<const std::byte *>(data);
        body_.insert(body_.end(), bytes, bytes + size);
        body_.resize(NLMSG_ALIGN(body_.size()));
    }

    nlmsghdr header_{};
    std::vector<std::byte> body_;
    std::size_t nested_at_ = 0; ///< offset of the nesting attribute; 0: there is none
};

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

template <typename F>
void for_each_attribute(std::span<const std::byte> attributes, F &&fn)
{
    const auto *attr = reinterpret_cast<const rtattr *>(attributes.data());
    for (auto left = static_cast<int>(attributes.size()); RTA_OK(attr, left); attr = RTA_NEXT(attr, left)) {
        const auto *payload = static_cast<const std::byte *>(RTA_DATA(attr));
        fn(attr->rta_type & NLA_TYPE_MASK, std::span(payload, RTA_PAYLOAD(attr)));
    }
}

std::string text_of(std::span<const std::byte> payload)
{
    const auto *text = reinterpret_cast<const char *>(payload.data());
    return {text, strnlen(text, payload.size())};
}

struct link_names {
    std::string name;
    std::vector<std::string> alternatives;
};

link_names names_of(link_request &request)
{
    link_names names;
    const std::vector<std::byte> reply = request.send();
    const auto *header = reinterpret_cast<const nlmsghdr *>(reply.data());
    if (reply.empty() || !NLMSG_OK(header, reply.size()) || header->nlmsg_type != RTM_NEWLINK ||
        header->nlmsg_len < NLMSG_LENGTH(sizeof(ifinfomsg))) {
        return names;
    }
    constexpr std::size_t before = NLMSG_SPACE(sizeof(ifinfomsg));
    for_each_attribute(std::span(reply).subspan(before, header->nlmsg_len - before), [&](int type, auto payload) {
        if (type == IFLA_IFNAME) {
            names.name = text_of(payload);
        } else if (type == IFLA_PROP_LIST) {
            for_each_attribute(payload, [&](int property, auto text) {
                if (property == IFLA_ALT_IFNAME) {
                    names.alternatives.push_back(text_of(text));
                }
            });
        }
    });
    return names;
}

void change_alternative(std::uint16_t type, std::uint16_t flags, int ifindex, const std::string &name)
{
    link_request change(type, static_cast<std::uint16_t>(NLM_F_ACK | flags), ifindex);
    change.nest(IFLA_PROP_LIST);
    change.text(IFLA_ALT_IFNAME, name);
    change.send();
}

} // namespace

std::string shadow_identity(const std::string &name) { return PREFIX + name; }

std::string find_shadow(const std::string &name)
{
    link_request get(RTM_GETLINK, 0, 0);
    get.text(IFLA_ALT_IFNAME, shadow_identity(name));
    return names_of(get).name;
}

void identify_shadow(int ifindex, const std::string &name) noexcept
{
    link_request get(RTM_GETLINK, 0, ifindex);
    const std::string wanted = shadow_identity(name);
    const link_names names = names_of(get);
    for (const std::string &other : names.alternatives) {
        if (other != wanted && other.starts_with(PREFIX)) {
            change_alternative(RTM_DELLINKPROP, 0, ifindex, other);
        }
    }
    if (std::ranges::count(names.alternatives, wanted) == 0) {
        change_alternative(RTM_NEWLINKPROP, NLM_F_CREATE | NLM_F_EXCL | NLM_F_APPEND, ifindex, wanted);
    }
}

} // namespace halfpoll
