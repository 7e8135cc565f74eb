// SPDX-License-Identifier: BSD-3-Clause
#include "policy_gate.hpp"

namespace halfpoll
{

namespace
{

constexpr int max_depth = 3; // a shadow, a VLAN on it, a VLAN on that

/// Calls `fn` for an interface and for those below it, until it returns true.
template <typename F>
bool any_down(const kernel_state &state, int ifindex, const F &fn)
{
    auto link = state.links.find(ifindex);
    for (int depth = 0; depth < max_depth && link != state.links.end(); ++depth) {
        const link_message &what = link->second.what;
        if (fn(policy_interface{.ifindex = link->first, .name = what.name, .altnames = what.altnames})) {
            return true;
        }
        link = state.links.find(link->second.what.lower);
    }
    return false;
}

} // namespace

bool policy_gate::kernel_forwards(std::uint8_t family, policy_side side, int ifindex) const
{
    return any_down(state_, ifindex, [&](const policy_interface &interface) {
        return policies_.kernel_forwards(family, side, interface);
    });
}

void policy_gate::visit(std::uint8_t family, policy_side side, int ifindex, const policy::visitor &fn) const
{
    any_down(state_, ifindex, [&](const policy_interface &interface) {
        policies_.visit_for(family, side, interface, fn);
        return false;
    });
}

} // namespace halfpoll
