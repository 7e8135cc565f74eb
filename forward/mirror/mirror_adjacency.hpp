// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "egress_path.hpp"
#include "kernel_state.hpp"
#include "mirror_nexthops.hpp"
#include "policy_gate.hpp"

#include "forward/packet/forwarder.hpp"

#include <cstdint>

namespace halfpoll
{

inline adjacency punt_as(punt_class c)
{
    adjacency a;
    a.kind = adjacency_kind::punt;
    a.punt = c;
    return a;
}

inline adjacency drop_as(forward_drop_reason reason)
{
    adjacency a;
    a.kind = adjacency_kind::drop;
    a.drop = reason;
    return a;
}

/// Makes the contents of next hops from links, neighbours and `ip nexthop` objects.
class adjacency_maker
{
public:
    adjacency_maker(const kernel_state &state, const egress_paths &egress, const policy_gate &gate)
        : state_(state), egress_(egress), gate_(gate)
    {
    }
    nexthop_state state_of(const nexthop_key &key) const;
    /// Of a key whose id is not 0.
    nexthop_contents contents_of(const nexthop_group_key &key) const;

private:
    std::uint32_t mtu_of(const nexthop_key &key, const egress_path &out) const;

    const kernel_state &state_;
    const egress_paths &egress_;
    const policy_gate &gate_;
};

} // namespace halfpoll
