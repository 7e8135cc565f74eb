// SPDX-License-Identifier: BSD-3-Clause
#include "rule_walk.hpp"

#include <algorithm>
#include <iterator>
#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <set>
#include <string>
#include <sys/socket.h>
#include <utility>

namespace halfpoll
{

namespace
{

/// Which of the packets that come in by one interface a rule concerns.
enum class concerned { none, some, all };

concerned concerned_by(const rule_message &rule, const std::string &iif)
{
    const bool none = rule.about_others || (!rule.iif.empty() && rule.iif != iif);
    const concerned meets = none ? concerned::none : rule.selective ? concerned::some : concerned::all;
    if (!rule.inverted || meets == concerned::some) {
        return meets;
    }
    return meets == concerned::none ? concerned::all : concerned::none;
}

/// The way of the packets of one interface through the rules.
class rule_walk
{
public:
    rule_walk(std::span<const rule_message> rules, std::string iif, const rule_setting &setting)
        : rules_(rules), iif_(std::move(iif)), setting_(setting)
    {
        for (std::size_t at = 0; at < rules_.size() && !ended_;) {
            at = step(at);
        }
    }

    /// The rule that may lead packets elsewhere; null: none does.
    const rule_message *elsewhere() const noexcept { return elsewhere_; }
    /// True if every packet has been looked up in the local table, and then in the main table.
    bool complete() const noexcept { return main_; }
    bool beyond_main() const noexcept { return beyond_; }

private:
    std::size_t step(std::size_t at);
    std::size_t follow(std::size_t at, concerned packets);
    void look_up(const rule_message &rule, concerned packets);
    void leave(const rule_message &rule);

    std::span<const rule_message> rules_;
    std::string iif_;
    const rule_setting &setting_;
    bool local_ = false, main_ = false; ///< looked up for every packet
    bool beyond_ = false;
    bool ended_ = false;
    const rule_message *elsewhere_ = nullptr;
};

/// Packets may leave the known way. Behind the main table, only those leave it that have no route there.
void rule_walk::leave(const rule_message &rule)
{
    if (main_) {
        beyond_ = true;
    } else {
        elsewhere_ = &rule;
        ended_ = true;
    }
}

/// Returns the index of the next rule.
std::size_t rule_walk::step(std::size_t at)
{
    const rule_message &rule = rules_[at];
    const concerned packets = concerned_by(rule, iif_);
    if (rule.unknown) { // it may be a selector as well as a target
        leave(rule);
    } else if (packets != concerned::none) {
        return follow(at, packets);
    }
    return at + 1;
}

std::size_t rule_walk::follow(std::size_t at, concerned packets)
{
    const rule_message &rule = rules_[at];
    switch (rule.action) {
    case FR_ACT_NOP:
        break;
    case FR_ACT_TO_TBL:
        look_up(rule, packets);
        break;
    case FR_ACT_GOTO: {
        const auto target = std::ranges::find(rules_.begin() + static_cast<std::ptrdiff_t>(at) + 1, rules_.end(),
                                              rule.goto_target, &rule_message::priority);
        if (target != rules_.end() && packets == concerned::all) {
            return static_cast<std::size_t>(target - rules_.begin());
        }
        if (target != rules_.end()) {
            leave(rule);
        }
        break;
    }
    case FR_ACT_BLACKHOLE:
    case FR_ACT_UNREACHABLE:
    case FR_ACT_PROHIBIT:
        if (!main_) { // else the kernel refuses what it has no route for, and so it does without the rule
            leave(rule);
        }
        ended_ |= packets == concerned::all;
        break;
    default:
        leave(rule);
    }
    return at + 1;
}

/// A table that has been looked up for every packet has nothing for those that are still under way. One that is looked
/// up for some of them, or with some of its routes, does no harm in its turn, but has to come again.
void rule_walk::look_up(const rule_message &rule, concerned packets)
{
    const bool whole = packets == concerned::all && !rule.suppresses;
    switch (rule.table) {
    case RT_TABLE_LOCAL:
        local_ |= whole;
        break;
    case RT_TABLE_MAIN:
        local_ ? void(main_ |= whole) : leave(rule);
        break;
    case RT_TABLE_DEFAULT:
        if (setting_.default_table) {
            leave(rule);
        }
        break;
    default:
        leave(rule);
    }
}

std::string name_of(std::uint8_t family) { return family == AF_INET ? "ip rule" : "ip -6 rule"; }

std::string reason_text(std::uint8_t family, const rule_message *rule)
{
    return rule == nullptr ? name_of(family) + ": none leads to the main table"
                           : name_of(family) + " " + std::to_string(rule->priority) + " " + rule->text;
}

} // namespace

rule_result walk_rules(std::uint8_t family, std::span<const rule_message> rules, const rule_setting &setting)
{
    rule_result result;
    const rule_walk any(rules, {}, setting); // by an interface that no rule names
    result.beyond_main = any.beyond_main();
    if (any.elsewhere() != nullptr || !any.complete()) {
        result.reasons.push_back({.family = family, .text = reason_text(family, any.elsewhere())});
        return result;
    }
    std::set<std::string> named;
    std::ranges::transform(rules, std::inserter(named, named.end()), &rule_message::iif);
    for (const std::string &iif : named) {
        const rule_walk walk(rules, iif, setting);
        result.beyond_main |= walk.beyond_main();
        if (walk.elsewhere() == nullptr && walk.complete()) {
            continue;
        }
        policy_reason reason{.family = family, .device = iif, .text = reason_text(family, walk.elsewhere())};
        result.reasons.push_back(reason);
        // The check looks for the way back of a packet as if the answer came in where the packet leaves.
        if (setting.reverse_path && family == AF_INET) {
            reason.side = policy_side::out;
            result.reasons.push_back(std::move(reason));
        }
    }
    return result;
}

} // namespace halfpoll
