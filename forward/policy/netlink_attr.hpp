// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/error.hpp>

#include <libmnl/libmnl.h>

#include <cstring>
#include <linux/netlink.h>

namespace halfpoll
{

/// Calls fn(attribute) for each attribute after a message's own header of `skip` bytes.
template <typename F>
void for_each_attr(const nlmsghdr &message, std::size_t skip, F fn)
{
    const auto call = [](const nlattr *attr, void *data) {
        (*static_cast<F *>(data))(*attr);
        return MNL_CB_OK;
    };
    mnl_attr_parse(&message, static_cast<unsigned>(skip), call, &fn);
}

/// Copies the beginning of a message's payload. A copy, since netlink aligns to 4 bytes only. Throws `error` if the
/// payload is shorter.
template <typename T>
T copy_header(const nlmsghdr &message)
{
    T header;
    if (mnl_nlmsg_get_payload_len(&message) < sizeof header) {
        throw error("netlink: a message of type " + std::to_string(message.nlmsg_type) + " is too short");
    }
    std::memcpy(&header, mnl_nlmsg_get_payload(&message), sizeof header);
    return header;
}

} // namespace halfpoll
