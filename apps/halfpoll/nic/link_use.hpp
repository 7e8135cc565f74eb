// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "apps/halfpoll/host/host.hpp"

namespace halfpoll
{

/// Returns what would break if the kernel lost an interface: "carries …" for a default route or an SSH session, on the
/// interface or on a VLAN, bridge or bond above it; "is a port of …" for a bridge or bond. Empty: nothing would break.
std::vector<std::string> uses_of_link(const host &on, const std::string &ifname);

/// True if sysfs and the calling thread's network namespace mean the same link by that name: sysfs may be mounted for
/// another namespace.
bool is_link_here(const host &on, const std::string &ifname);

} // namespace halfpoll
