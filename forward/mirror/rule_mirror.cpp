// SPDX-License-Identifier: BSD-3-Clause
#include "rule_mirror.hpp"

#include <linux/rtnetlink.h>
#include <string>
#include <utility>
#include <vector>

namespace halfpoll
{

namespace
{

bool known_table(std::uint32_t table)
{
    return table == RT_TABLE_LOCAL || table == RT_TABLE_MAIN || table == RT_TABLE_DEFAULT;
}

/// True if the rules of a family may lead packets to other tables than local, main and default. A kernel without rules
/// behaves as if it had the default ones.
bool lead_elsewhere(const std::vector<rule_message> &rules, std::uint8_t family)
{
    bool any = false, local = false, main = false, elsewhere = false;
    for (const rule_message &r : rules) {
        if (r.family == family) {
            any = true;
            local |= r.plain && r.table == RT_TABLE_LOCAL;
            main |= r.plain && r.table == RT_TABLE_MAIN;
            elsewhere |= !r.neutral && !(r.plain && known_table(r.table));
        }
    }
    return any && (elsewhere || !local || !main);
}

} // namespace

void rule_mirror::begin_dump(std::uint8_t family)
{
    std::erase_if(state_.rules, [&](const rule_message &r) { return r.family == family; });
}

void rule_mirror::update_policy_routing()
{
    update_policy_routing(AF_INET, state_.policy_routing4, "IPv4");
    update_policy_routing(AF_INET6, state_.policy_routing6, "IPv6");
}

void rule_mirror::update_policy_routing(std::uint8_t family, bool &state, const char *name)
{
    if (const bool before = std::exchange(state, lead_elsewhere(state_.rules, family)); before != state) {
        consequences_.policy_routing_changed(family);
        report_.warn(std::string(name) +
                     (state ? ": there are rules (ip rule) that lead to other tables than local and main: the kernel "
                              "alone forwards, until they are removed"
                            : ": no rules to other tables are left, forwarding again"));
    }
}

} // namespace halfpoll
