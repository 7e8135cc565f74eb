// SPDX-License-Identifier: BSD-3-Clause
#include "egress_path.hpp"

#include <halfpoll/net_device.hpp>

#include <algorithm>

namespace halfpoll
{

namespace
{
constexpr std::size_t max_tags = 2;
} // namespace

std::optional<egress_path> egress_paths::of(int ifindex) const
{
    egress_path out;
    for (;;) {
        const auto link = state_.links.find(ifindex);
        if (link == state_.links.end()) {
            return {};
        }
        const link_message &what = link->second.what;
        if (out.mtu == 0) { // the uppermost interface counts
            out.mtu = what.mtu;
            out.mac = what.mac;
        }
        out.up &= what.up;
        if ((out.port = slow_.of_kernel_ifindex(ifindex)) != nullptr) {
            out.up &= out.port->dev->running.load(std::memory_order_relaxed);
            out.mtu = std::min(out.mtu, out.port->dev->mtu.load(std::memory_order_relaxed));
            std::ranges::reverse(out.tags);
            return out;
        }
        if (what.lower == 0 || out.tags.size() == max_tags) {
            return {};
        }
        out.tags.push_back({what.vlan_protocol, what.vlan_id});
        ifindex = what.lower;
    }
}

bool egress_paths::usable(int ifindex) const
{
    const auto out = of(ifindex);
    return out && out->up;
}

} // namespace halfpoll
