// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "forward/policy/policy.hpp"
#include "kernel_state.hpp"

#include <cstdint>
#include <set>

namespace halfpoll
{

/// Follows policy rules (`ip rule`), which are known by dumps only.
class rule_mirror
{
public:
    rule_mirror(kernel_state &state, policy &policies) : state_(state), policies_(policies) {}

    void begin_dump(std::uint8_t family);
    void add(const rule_message &rule) { state_.rules.push_back(rule); }
    /// Called at the end of a dump. A family is forwarded only if its rules lead every packet to the local table, then
    /// to the main table. Otherwise the kernel decides.
    void end_dump(std::uint8_t family);

private:
    kernel_state &state_;
    policy &policies_;
    std::set<std::uint8_t> inspected_; ///< families
};

} // namespace halfpoll
