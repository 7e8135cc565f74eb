// SPDX-License-Identifier: BSD-3-Clause
#include "rule_mirror.hpp"

#include "rule_walk.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

namespace halfpoll
{

/// The kernel puts a new rule behind those of the same priority.
void rule_mirror::apply(const rule_message &rule, bool gone)
{
    family_rules &of = rules_[rule.family];
    if (gone) {
        const auto found = std::ranges::find(of.known, rule);
        if (found != of.known.end()) {
            of.known.erase(found);
        }
    } else {
        of.known.insert(std::ranges::upper_bound(of.known, rule.priority, {}, &rule_message::priority), rule);
    }
    of.disturbed = true;
    loads_.stale.rules |= loads_.loading();
    evaluate();
}

void rule_mirror::begin_dump(std::uint8_t family)
{
    rules_[family].dumped.clear();
    rules_[family].disturbed = false;
}

void rule_mirror::end_dump(std::uint8_t family, dump how)
{
    family_rules &of = rules_[family];
    if (how == dump::failed || of.disturbed) {
        return; // another one follows
    }
    of.known = std::exchange(of.dumped, {});
    of.absent = how == dump::absent;
    of.inspected = true;
    evaluate();
}

void rule_mirror::lost()
{
    for (auto &[family, of] : rules_) {
        of.inspected = false;
    }
    unknown_because_ = ": messages of the kernel were lost";
    evaluate();
}

/// True if rules that depend on an interface (walk_rules() does not ask otherwise) also count for the way back.
bool rule_mirror::checks_way_back(const family_rules &of) const
{
    const auto names_interface = [](const rule_message &r) { return !r.iif.empty(); };
    return std::ranges::any_of(of.known, names_interface) && state_.netconf.checks_reverse_path();
}

void rule_mirror::evaluate()
{
    std::vector<policy_reason> reasons;
    for (const auto &[family, of] : rules_) {
        rule_result result;
        if (!of.inspected) {
            const std::string name = family == AF_INET ? "ip rule" : "ip -6 rule";
            result.reasons = {{.family = family, .text = name + unknown_because_}};
        } else if (!of.absent) {
            result = walk_rules(
                family, of.known,
                {.default_table = state_.default_table.contains(family), .reverse_path = checks_way_back(of)});
        }
        std::ranges::move(result.reasons, std::back_inserter(reasons));
        if (result.beyond_main != state_.beyond_main.contains(family)) {
            result.beyond_main ? void(state_.beyond_main.insert(family)) : void(state_.beyond_main.erase(family));
            consequences_.beyond_main_changed(family);
        }
    }
    policies_.replace(policy_kind::rule, std::move(reasons));
}

} // namespace halfpoll
