// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "egress_path.hpp"
#include "forward/tables/interface_table.hpp"
#include "kernel_state.hpp"
#include "pass_decider.hpp"
#include "policy_gate.hpp"

#include <set>

namespace halfpoll
{

/// Writes the interfaces that packets come in on, port by port, into the interface_table. The destructor removes them.
class ingress_publisher
{
public:
    ingress_publisher(const kernel_state &state, const egress_paths &egress, const policy_gate &gate, slow_path &slow,
                      interface_table &table)
        : state_(state), egress_(egress), gate_(gate), slow_(slow), table_(table), passes_(gate, slow)
    {
    }
    ~ingress_publisher();
    ingress_publisher(const ingress_publisher &) = delete;
    ingress_publisher &operator=(const ingress_publisher &) = delete;

    void publish(int ifindex);

private:
    rx_interface interface_of(int ifindex, const link_message &link, const egress_path &path) const;

    const kernel_state &state_;
    const egress_paths &egress_;
    const policy_gate &gate_;
    slow_path &slow_;
    interface_table &table_;
    pass_decider passes_;
    std::set<int> taken_; ///< link_message::takes_from of all links, for the present call of publish()
};

} // namespace halfpoll
