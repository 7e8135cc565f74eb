// SPDX-License-Identifier: BSD-3-Clause
#include "policy.hpp"

#include <algorithm>
#include <sys/socket.h>

namespace halfpoll
{

namespace
{

bool matches(std::string_view pattern, std::string_view name)
{
    return pattern.ends_with('*') ? name.starts_with(pattern.substr(0, pattern.size() - 1)) : name == pattern;
}

bool concerns(const policy_reason &reason, std::uint8_t family, policy_side side, const policy_interface &interface)
{
    if (reason.side != side || (reason.family != AF_UNSPEC && reason.family != family)) {
        return false;
    }
    if (reason.ifindex != 0) {
        return reason.ifindex == interface.ifindex;
    }
    return reason.device.empty() || matches(reason.device, interface.name) ||
           std::ranges::find(interface.altnames, reason.device) != interface.altnames.end();
}

} // namespace

policy::policy()
{
    for (std::size_t kind = 0; kind < reasons_.size(); ++kind) {
        reasons_[kind] = {{.text = std::string(policy_kind_names[kind]).append(policy_not_inspected)}};
    }
}

void policy::replace(policy_kind kind, std::vector<policy_reason> reasons)
{
    std::vector<policy_reason> &present = reasons_[static_cast<std::size_t>(kind)];
    if (present != reasons) {
        present = std::move(reasons);
        if (on_change) {
            on_change();
        }
    }
}

void policy::doubt(policy_kind kind, const std::string &why)
{
    replace(kind, {{.text = std::string(policy_kind_names[static_cast<std::size_t>(kind)]) + ": " + why}});
}

void policy::obey(const policy_set &kinds)
{
    if (std::exchange(obeyed_, kinds) != kinds && on_change) {
        on_change();
    }
}

bool policy::kernel_forwards(std::uint8_t family, policy_side side, const policy_interface &interface) const
{
    for (std::size_t kind = 0; kind < reasons_.size(); ++kind) {
        const auto here = [&](const policy_reason &r) { return concerns(r, family, side, interface); };
        if (obeyed_[kind] && std::ranges::any_of(reasons_[kind], here)) {
            return true;
        }
    }
    return false;
}

void policy::visit(const visitor &fn) const
{
    for (std::size_t kind = 0; kind < reasons_.size(); ++kind) {
        for (const policy_reason &reason : reasons_[kind]) {
            fn(static_cast<policy_kind>(kind), reason);
        }
    }
}

void policy::visit_for(std::uint8_t family, policy_side side, const policy_interface &interface,
                       const visitor &fn) const
{
    visit([&](policy_kind kind, const policy_reason &reason) {
        if (concerns(reason, family, side, interface)) {
            fn(kind, reason);
        }
    });
}

} // namespace halfpoll
