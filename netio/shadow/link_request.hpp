// SPDX-License-Identifier: BSD-3-Clause
//
// Requests about one link by rtnetlink, each on a socket of its own, in the calling thread's network namespace.
#pragma once

#include <cstddef>
#include <cstdint>
#include <linux/rtnetlink.h>
#include <span>
#include <string>
#include <vector>

namespace halfpoll
{

/// An rtnetlink request about a link, and its answer. Control thread.
class link_request
{
public:
    /// `ifindex`: 0 if an attribute names the link.
    link_request(std::uint16_t type, std::uint16_t flags, int ifindex);
    void text(std::uint16_t type, const std::string &value);
    /// The attributes that follow are nested in it.
    void nest(std::uint16_t type);
    /// Sends the request and returns the answer with its header; empty: there is none.
    std::vector<std::byte> send();

private:
    void put(const void *data, std::size_t size);

    nlmsghdr header_{};
    std::vector<std::byte> body_;
    std::size_t nested_at_ = 0; ///< offset of the nesting attribute; 0: there is none
};

/// Attributes of the link that an answer describes; empty if it describes none.
std::span<const std::byte> link_attributes(std::span<const std::byte> reply) noexcept;

/// Calls fn(type, payload) for each attribute.
template <typename F>
void for_each_attribute(std::span<const std::byte> attributes, F &&fn)
{
    const auto *attr = reinterpret_cast<const rtattr *>(attributes.data());
    for (auto left = static_cast<int>(attributes.size()); RTA_OK(attr, left); attr = RTA_NEXT(attr, left)) {
        const auto *payload = static_cast<const std::byte *>(RTA_DATA(attr));
        fn(attr->rta_type & NLA_TYPE_MASK, std::span(payload, RTA_PAYLOAD(attr)));
    }
}

std::string text_of(std::span<const std::byte> payload);

} // namespace halfpoll
