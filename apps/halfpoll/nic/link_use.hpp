// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "apps/halfpoll/host/host.hpp"

namespace halfpoll
{

/// What would break if the kernel lost an interface, each as "carries …": a default route, SSH sessions, on it or on a
/// VLAN, bridge or bond above it; or that it is a port of one. Empty: nothing that matters.
std::vector<std::string> uses_of_link(const host &on, const std::string &ifname);

/// True if what sysfs calls by that name is the link of that name in the calling thread's network namespace: sysfs may
/// be mounted for another one.
bool is_link_here(const host &on, const std::string &ifname);

} // namespace halfpoll
