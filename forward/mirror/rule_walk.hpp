// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "forward/netlink/rule_message.hpp"
#include "forward/policy/policy_reason.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace halfpoll
{

/// What else the answer depends on.
struct rule_setting {
    bool default_table = false; ///< the table `default` has routes
    bool reverse_path = false;  ///< an interface checks the way back to the source of its packets (rp_filter)
};

/// What the rules of a family do to forwarded packets.
struct rule_result {
    /// Why packets are left to the kernel: a rule may lead them elsewhere than to the local table and then to the main
    /// table.
    std::vector<policy_reason> reasons;
    /// Packets for which the main table has no route may find one in another table.
    bool beyond_main = false;
};

/// Walks through the rules as the kernel does for a forwarded packet. `rules`: all of the family, in the kernel's
/// order.
rule_result walk_rules(std::uint8_t family, std::span<const rule_message> rules, const rule_setting &setting);

} // namespace halfpoll
