// SPDX-License-Identifier: BSD-3-Clause
#include "pass_decider.hpp"

#include <algorithm>

namespace halfpoll
{

void pass_decider::publish(const shadow &port, const std::vector<rx_interface> &interfaces) const
{
    slow_.set_pass(port, decide(port, interfaces));
}

pass_to_kernel pass_decider::decide(const shadow &port, const std::vector<rx_interface> &interfaces) const
{
    const auto own = std::ranges::find_if(interfaces, [&](const rx_interface &in) {
        return in.tags() == 0 && in.oif == static_cast<std::uint32_t>(port.kernel_ifindex);
    });
    // A native XDP program of a TAP sees only what is written to it.
    if (own == interfaces.end() || !own->up || has_reason(policy_side::in, port.kernel_ifindex, policy_kind::bpf)) {
        return {};
    }
    // What passes out of a shadow does not meet its queueing disciplines and packet sockets.
    const bool seen = own->promiscuous || has_reason(policy_side::out, port.kernel_ifindex, policy_kind::tc) ||
                      has_reason(policy_side::out, port.kernel_ifindex, policy_kind::bpf);
    return {.ip4 = own->kernel_only || own->kernel4,
            .ip6 = own->kernel_only || own->kernel6,
            .tcp_of_box = true,
            .shadow = port.kernel_ifindex,
            .out = !seen};
}

bool pass_decider::has_reason(policy_side side, int ifindex, policy_kind kind) const
{
    bool found = false;
    for (const std::uint8_t family : {std::uint8_t{AF_INET}, std::uint8_t{AF_INET6}}) {
        gate_.visit(family, side, ifindex, [&](policy_kind of, const policy_reason &) { found |= of == kind; });
    }
    return found;
}

} // namespace halfpoll
