// SPDX-License-Identifier: BSD-3-Clause
#include "policy_gate.hpp"

namespace halfpoll
{

namespace
{
constexpr int max_depth = 3; // a shadow, a VLAN on it, a VLAN on that
} // namespace

bool policy_gate::kernel_forwards(std::uint8_t family, policy_side side, int ifindex) const
{
    auto link = state_.links.find(ifindex);
    for (int depth = 0; depth < max_depth && link != state_.links.end(); ++depth) {
        if (policies_.kernel_forwards(family, side, {.ifindex = link->first, .name = link->second.what.name})) {
            return true;
        }
        link = state_.links.find(link->second.what.lower);
    }
    return false;
}

} // namespace halfpoll
