// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "host.hpp"

namespace halfpoll
{

/// What would break if the kernel lost an interface, each as "carries …": a default route, SSH sessions, on it or on a
/// VLAN, bridge or bond above it; or that it is a port of one. Empty: nothing that matters.
std::vector<std::string> uses_of_link(const host &on, const std::string &ifname);

} // namespace halfpoll
