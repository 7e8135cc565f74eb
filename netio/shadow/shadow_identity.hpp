// SPDX-License-Identifier: BSD-3-Clause
//
// The name by which a shadow is recognized after it was renamed: an alternative name (`ip link property`), which stays
// with an interface. All functions work in the calling thread's network namespace. Control thread.
#pragma once

#include <string>

namespace halfpoll
{

/// The alternative name of the shadow that was created as `name`: "halfpoll-lan0" for lan0.
std::string shadow_identity(const std::string &name);
/// Present name of the interface that was created as `name`; empty: there is none, or the kernel is older than 5.5.
std::string find_shadow(const std::string &name);
/// Gives an interface the alternative name for `name`, and removes alternative names for other names from it. On a
/// kernel without alternative names it does nothing. Ignores errors.
void identify_shadow(int ifindex, const std::string &name) noexcept;

} // namespace halfpoll
