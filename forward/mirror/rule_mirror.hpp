// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "consequences.hpp"
#include "forward/netlink/rule_message.hpp"
#include "forward/policy/policy.hpp"
#include "kernel_state.hpp"
#include "load_state.hpp"

#include <cstdint>
#include <map>
#include <string>
#include <sys/socket.h>
#include <vector>

namespace halfpoll
{

/// Follows policy rules (`ip rule`), and finds out what they mean for forwarded packets (rule_walk).
class rule_mirror
{
public:
    rule_mirror(kernel_state &state, load_state &loads, policy &policies, consequences &c)
        : state_(state), loads_(loads), policies_(policies), consequences_(c)
    {
        rules_[AF_INET] = rules_[AF_INET6] = {}; // both are evaluated, also before anything is known of them
    }

    /// A notification.
    void apply(const rule_message &rule, bool gone);
    /// An entry of a dump.
    void add(const rule_message &rule) { rules_[rule.family].dumped.push_back(rule); }
    void begin_dump(std::uint8_t family);
    enum class dump {
        whole,
        failed, ///< what it showed does not count
        absent, ///< the kernel has no rules of the family: it looks into the local and the main table
    };
    void end_dump(std::uint8_t family, dump how);
    /// Notifications were lost: until the next dump the rules are not known.
    void lost();
    /// To be called when settings of interfaces, or the contents of the table `default`, may have changed.
    void evaluate();

private:
    struct family_rules {
        std::vector<rule_message> known; ///< in the kernel's order
        std::vector<rule_message> dumped;
        bool inspected = false; ///< `known` is what the kernel has
        bool absent = false;
        bool disturbed = false; ///< notifications came during the present dump, which may be older
    };
    bool checks_way_back(const family_rules &of) const;

    kernel_state &state_;
    load_state &loads_;
    policy &policies_;
    consequences &consequences_;
    std::map<std::uint8_t, family_rules> rules_; ///< by family
    std::string unknown_because_{policy_not_inspected};
};

} // namespace halfpoll
