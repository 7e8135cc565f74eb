// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "consequences.hpp"
#include "kernel_state.hpp"
#include "load_state.hpp"

#include <halfpoll/slow_path.hpp>

#include <cstdint>
#include <utility>

namespace halfpoll
{

/// Follows neighbours. Adds the confirmed ones to the slow path's known sources; the destructor removes them there.
class neighbour_mirror
{
public:
    neighbour_mirror(kernel_state &state, const load_state &loads, slow_path &slow, consequences &c)
        : neighbours_(state.neighbours), loads_(loads), slow_(slow), consequences_(c)
    {
    }
    ~neighbour_mirror();
    neighbour_mirror(const neighbour_mirror &) = delete;
    neighbour_mirror &operator=(const neighbour_mirror &) = delete;

    void apply(const neighbour_message &message);
    /// Forgets the neighbours of a family that the present dump did not show.
    void sweep(std::uint8_t family);

private:
    void forget(const std::pair<ip_addr, int> &key);
    void set_known(const ip_addr &addr, known_neighbour &neighbour, bool known);

    neighbour_map &neighbours_;
    const load_state &loads_;
    slow_path &slow_;
    consequences &consequences_;
};

} // namespace halfpoll
