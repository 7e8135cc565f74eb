// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "shadow_gro.hpp"

#include <string>

namespace halfpoll
{

/// What `ethtool -K` of an interface lets be merged: TCP with `gro`, UDP with `rx-udp-gro-forwarding` beside it, as in
/// the kernel's GRO. `control`: a socket in the namespace of the interface. Nothing, if the kernel does not say.
/// Control thread.
gro_kinds gro_of(int control, const std::string &name);

} // namespace halfpoll
