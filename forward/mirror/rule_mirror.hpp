// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "consequences.hpp"
#include "kernel_state.hpp"
#include "mirror_report.hpp"

#include <cstdint>

namespace halfpoll
{

/// Follows policy rules (`ip rule`), which are known by dumps only.
class rule_mirror
{
public:
    rule_mirror(kernel_state &state, consequences &c, mirror_report &report)
        : state_(state), consequences_(c), report_(report)
    {
    }

    void begin_dump(std::uint8_t family);
    void add(const rule_message &rule) { state_.rules.push_back(rule); }
    /// Called at the end of a dump. A family is forwarded only if its rules lead every packet to the local table, then
    /// to the main table. Otherwise the kernel decides.
    void update_policy_routing();

private:
    void update_policy_routing(std::uint8_t family, bool &state, const char *name);

    kernel_state &state_;
    consequences &consequences_;
    mirror_report &report_;
};

} // namespace halfpoll
