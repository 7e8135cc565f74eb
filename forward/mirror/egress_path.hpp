// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "kernel_state.hpp"

#include <halfpoll/slow_path.hpp>

#include <cstdint>
#include <optional>
#include <vector>

namespace halfpoll
{

/// How packets leave by a kernel interface that is a shadow, or a VLAN on a shadow.
struct egress_path {
    struct tag {
        std::uint16_t protocol = 0;
        std::uint16_t id = 0;
    };
    const shadow *port = nullptr;
    bool up = true; ///< the interface and all interfaces below it
    std::uint32_t mtu = 0;
    rte_ether_addr mac{};
    std::vector<tag> tags; ///< outermost first
};

/// Finds the port below a kernel interface.
class egress_paths
{
public:
    egress_paths(const kernel_state &state, slow_path &slow) : state_(state), slow_(slow) {}
    /// No value: packets cannot leave by the interface without the kernel.
    std::optional<egress_path> of(int ifindex) const;
    bool usable(int ifindex) const;

private:
    const kernel_state &state_;
    slow_path &slow_;
};

} // namespace halfpoll
