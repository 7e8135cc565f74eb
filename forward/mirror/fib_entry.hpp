// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "forward/packet/forwarder.hpp"
#include "forward/tables/ip_prefix.hpp"

#include <cstdint>

namespace halfpoll
{

/// The functions of fib4 and fib6, by the family of a prefix.

/// Inserts or replaces an entry. `nexthop` route_entry::none: removes it. Throws `error` if the FIB is full.
void write_fib(forwarder &fwd, const ip_prefix &prefix, std::uint32_t nexthop);
bool fib_fits(forwarder &fwd, const ip_prefix &prefix);
/// The longest prefix that covers this one and needs no room.
ip_prefix fib_reach(forwarder &fwd, const ip_prefix &prefix);

} // namespace halfpoll
