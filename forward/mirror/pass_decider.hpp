// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "forward/tables/interface_table.hpp"
#include "policy_gate.hpp"

#include <halfpoll/slow_path.hpp>

#include <vector>

namespace halfpoll
{

/// Decides for a port which packets need not leave the kernel, because the kernel forwards them anyway.
class pass_decider
{
public:
    pass_decider(const policy_gate &gate, slow_path &slow) : gate_(gate), slow_(slow) {}
    /// To be called after the data path has got the interfaces of the port: it then punts what does not pass.
    void publish(const shadow &port, const std::vector<rx_interface> &interfaces) const;

private:
    pass_to_kernel decide(const shadow &port, const std::vector<rx_interface> &interfaces) const;
    bool has_reason(policy_side side, int ifindex, policy_kind kind) const;

    const policy_gate &gate_;
    slow_path &slow_;
};

} // namespace halfpoll
