// SPDX-License-Identifier: BSD-3-Clause
//
// What a shadow is known by when somebody has renamed it: an alternative name (`ip link property`), which stays with an
// interface. All in the calling thread's network namespace; control thread.
#pragma once

#include <string>

namespace halfpoll
{

/// "halfpoll-lan0": the alternative name of the shadow that was made as lan0.
std::string shadow_identity(const std::string &name);
/// Present name of the interface that was made as `name`; empty: there is none, or the kernel is older than 5.5.
std::string find_shadow(const std::string &name);
/// The interface is the one of that name from now on, and no other one's. A kernel that has no alternative names keeps
/// the present name only.
void identify_shadow(int ifindex, const std::string &name) noexcept;

} // namespace halfpoll
