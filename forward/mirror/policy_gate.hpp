// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "forward/policy/policy.hpp"
#include "kernel_state.hpp"

#include <cstdint>

namespace halfpoll
{

/// Answers for an interface of the kernel_state whether packets are left to the kernel. Has no state of its own.
class policy_gate
{
public:
    policy_gate(const kernel_state &state, const policy &policies) : state_(state), policies_(policies) {}
    /// What concerns an interface concerns the VLANs on it, too: their packets pass both.
    bool kernel_forwards(std::uint8_t family, policy_side side, int ifindex) const;
    /// Visits the reasons that concern an interface or one below it, obeyed or not.
    void visit(std::uint8_t family, policy_side side, int ifindex, const policy::visitor &fn) const;

private:
    const kernel_state &state_;
    const policy &policies_;
};

} // namespace halfpoll
