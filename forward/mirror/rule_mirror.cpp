// SPDX-License-Identifier: BSD-3-Clause
#include "rule_mirror.hpp"

#include <linux/rtnetlink.h>
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

void rule_mirror::end_dump(std::uint8_t family)
{
    inspected_.insert(family);
    std::vector<policy_reason> reasons;
    for (const auto &[each, name] :
         {std::pair{std::uint8_t{AF_INET}, "ip rule"}, {std::uint8_t{AF_INET6}, "ip -6 rule"}}) {
        if (!inspected_.contains(each)) {
            reasons.push_back({.family = each, .text = std::string(name) + ": not inspected yet"});
        } else if (lead_elsewhere(state_.rules, each)) {
            reasons.push_back({.family = each, .text = name});
        }
    }
    policies_.replace(policy_kind::rule, std::move(reasons));
}

} // namespace halfpoll
