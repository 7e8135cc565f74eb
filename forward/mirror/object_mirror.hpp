// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "consequences.hpp"
#include "kernel_state.hpp"
#include "load_state.hpp"

#include <cstdint>

namespace halfpoll
{

/// Follows `ip nexthop` objects.
class object_mirror
{
public:
    object_mirror(kernel_state &state, load_state &loads, consequences &c)
        : objects_(state.objects), loads_(loads), consequences_(c)
    {
    }

    void apply(const nexthop_message &message);
    void forget(std::uint32_t id);
    /// Forgets the objects that the present dump did not show. Marks the routes stale, too.
    void sweep();

private:
    std::map<std::uint32_t, known_object> &objects_;
    load_state &loads_;
    consequences &consequences_;
};

} // namespace halfpoll
