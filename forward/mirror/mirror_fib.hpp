// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "fixed_entries.hpp"
#include "forward/packet/forwarder.hpp"
#include "mirror_nexthops.hpp"
#include "mirror_report.hpp"
#include "mirror_routes.hpp"
#include "nexthop_decider.hpp"
#include "route_selection.hpp"
#include "stand_ins.hpp"

#include <halfpoll/slow_path.hpp>

#include <cstdint>
#include <optional>
#include <span>

namespace halfpoll
{

/// Writes the FIB's entries of prefixes that have routes, belong to neighbours or are stand-ins, and tells the slow
/// path the addresses of the box. The destructor removes them.
class fib_updater
{
public:
    fib_updater(forwarder &fwd, route_table &routes, const route_selection &selection, nexthop_decider &decider,
                const fixed_entries &fixed, shared_nexthops &nexthops, stand_in_table &stand_ins, slow_path &slow,
                mirror_report &report)
        : fwd_(fwd), routes_(routes), selection_(selection), decider_(decider), fixed_(fixed), nexthops_(nexthops),
          stand_ins_(stand_ins), slow_(slow), report_(report)
    {
    }
    ~fib_updater();
    fib_updater(const fib_updater &) = delete;
    fib_updater &operator=(const fib_updater &) = delete;

    /// Brings the FIB's entry for one prefix in line with the known routes and neighbours.
    void update_prefix(const ip_prefix &prefix);
    /// Called when usability changed: repeats the choices among several equal routes.
    void update_choices();

private:
    std::uint32_t acquire_in_room(const ip_prefix &prefix, std::span<const kernel_route> list);
    void write(const ip_prefix &prefix, std::uint32_t before, std::uint32_t now);
    void set_stand_in(const ip_prefix &prefix, const std::optional<ip_prefix> &entry);

    forwarder &fwd_;
    route_table &routes_;
    const route_selection &selection_;
    nexthop_decider &decider_;
    const fixed_entries &fixed_;
    shared_nexthops &nexthops_;
    stand_in_table &stand_ins_;
    slow_path &slow_;
    mirror_report &report_;
};

} // namespace halfpoll
