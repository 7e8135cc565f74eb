// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "forward/policy/policy_reason.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace halfpoll
{

struct shadow;

/// How the packets of one family are forwarded by one interface, and why; for display.
struct interface_policy {
    struct reason {
        std::string_view kind; ///< a name of policy_kind_names, or "upper": an interface that the packets belong to
        policy_side side = policy_side::in;
        std::string text;
        bool obeyed = true; ///< false: its kind is switched off
    };

    int ifindex = 0;
    std::string name;
    const shadow *port = nullptr;
    std::uint8_t family = 0;
    bool kernel_in = false;      ///< the kernel alone forwards what comes in by the interface
    bool kernel_out = false;     ///< … what leaves by it
    std::vector<reason> reasons; ///< each once
};

} // namespace halfpoll
