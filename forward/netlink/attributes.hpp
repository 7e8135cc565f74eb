// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "forward/tables/ip_prefix.hpp"

#include <halfpoll/error.hpp>

#include <libmnl/libmnl.h>

#include <cstdint>
#include <cstring>
#include <linux/netlink.h>
#include <string>
#include <sys/socket.h>

namespace halfpoll
{

/// The families that are mirrored.
inline bool followed(std::uint8_t family) { return family == AF_INET || family == AF_INET6; }

/// The payload of a message as a T; null if it is shorter.
template <typename T>
const T *header_of(const nlmsghdr &message)
{
    return mnl_nlmsg_get_payload_len(&message) < sizeof(T) ? nullptr
                                                           : static_cast<const T *>(mnl_nlmsg_get_payload(&message));
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

/// Calls fn(attribute) for each attribute. The macros of libmnl for this do not compile as C++.
template <typename F>
void for_each_attr(const void *start, std::size_t size, F fn)
{
    int left = static_cast<int>(size);
    for (const auto *attr = static_cast<const nlattr *>(start); mnl_attr_ok(attr, left); attr = mnl_attr_next(attr)) {
        fn(attr);
        left -= static_cast<int>(MNL_ALIGN(attr->nla_len));
    }
}

/// The attributes after a message's own header of `skip` bytes.
template <typename F>
void for_each_attr(const nlmsghdr &message, std::size_t skip, F fn)
{
    const void *start = mnl_nlmsg_get_payload_offset(&message, skip);
    const auto used =
        static_cast<std::size_t>(static_cast<const char *>(start) - reinterpret_cast<const char *>(&message));
    for_each_attr(start, message.nlmsg_len > used ? message.nlmsg_len - used : 0, fn);
}

template <typename F>
void for_each_nested(const nlattr *nest, F fn)
{
    for_each_attr(mnl_attr_get_payload(nest), mnl_attr_get_payload_len(nest), fn);
}

inline std::uint32_t get_u32(const nlattr *attr)
{
    return mnl_attr_validate(attr, MNL_TYPE_U32) < 0 ? 0 : mnl_attr_get_u32(attr);
}

inline std::uint16_t get_u16(const nlattr *attr)
{
    return mnl_attr_validate(attr, MNL_TYPE_U16) < 0 ? 0 : mnl_attr_get_u16(attr);
}

inline std::string get_text(const nlattr *attr)
{
    const char *text = static_cast<const char *>(mnl_attr_get_payload(attr));
    return {text, strnlen(text, mnl_attr_get_payload_len(attr))};
}

/// No address (family 0) if the size is not that of the family.
inline ip_addr get_addr(std::uint8_t family, const void *data, std::size_t size)
{
    ip_addr addr;
    if (followed(family) && size == address_bits(family) / 8) {
        addr.family = family;
        std::memcpy(addr.bytes.data(), data, size);
    }
    return addr;
}

inline ip_addr get_addr(std::uint8_t family, const nlattr *attr)
{
    return get_addr(family, mnl_attr_get_payload(attr), mnl_attr_get_payload_len(attr));
}

} // namespace halfpoll
