// SPDX-License-Identifier: BSD-3-Clause
#include "tap_kind.hpp"
#include "link_request.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <linux/if_link.h>
#include <linux/if_tun.h>

namespace halfpoll
{

namespace
{

unsigned number_of(std::span<const std::byte> payload) noexcept
{
    std::uint8_t byte = 0;
    std::uint32_t word = 0;
    if (payload.size() == sizeof byte) {
        std::memcpy(&byte, payload.data(), sizeof byte);
        return byte;
    }
    std::memcpy(&word, payload.data(), std::min(payload.size(), sizeof word));
    return word;
}

/// `data`: what the driver says of itself, struct tun_struct in the kernel.
tap_kind kind_of_tun(std::span<const std::byte> data)
{
    unsigned type = 0, attached = 0;
    bool multi_queue = false;
    for_each_attribute(data, [&](int attr, auto payload) {
        switch (attr) {
        case IFLA_TUN_TYPE:
            type = number_of(payload);
            break;
        case IFLA_TUN_MULTI_QUEUE:
            multi_queue = number_of(payload) != 0;
            break;
        case IFLA_TUN_NUM_QUEUES:
        case IFLA_TUN_NUM_DISABLED_QUEUES:
            attached += number_of(payload);
            break;
        default:
            break;
        }
    });
    if (type != IFF_TAP) {
        return {.kind = tap_kind::other};
    }
    return {.kind = multi_queue ? tap_kind::multi_queue : tap_kind::single_queue, .attached = attached};
}

} // namespace

tap_kind tap_kind_of(const std::string &name)
{
    link_request get(RTM_GETLINK, 0, 0);
    get.text(IFLA_IFNAME, name);
    const std::vector<std::byte> reply = get.send();
    const std::span attributes = link_attributes(reply);
    tap_kind found{.kind = attributes.empty() ? tap_kind::none : tap_kind::other};
    for_each_attribute(attributes, [&](int type, auto payload) {
        if (type != IFLA_LINKINFO) {
            return;
        }
        std::string driver;
        std::span<const std::byte> data;
        for_each_attribute(payload, [&](int attr, auto value) {
            if (attr == IFLA_INFO_KIND) {
                driver = text_of(value);
            } else if (attr == IFLA_INFO_DATA) {
                data = value;
            }
        });
        if (driver == "tun") {
            found = kind_of_tun(data);
        }
    });
    return found;
}

} // namespace halfpoll
