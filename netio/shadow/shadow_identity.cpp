// SPDX-License-Identifier: BSD-3-Clause
#include "shadow_identity.hpp"
#include "link_request.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <vector>

namespace halfpoll
{

namespace
{

constexpr const char *PREFIX = "halfpoll-";

struct link_names {
    std::string name;
    std::vector<std::string> alternatives;
};

link_names names_of(link_request &request)
{
    link_names names;
    const std::vector<std::byte> reply = request.send();
    for_each_attribute(link_attributes(reply), [&](int type, auto payload) {
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
