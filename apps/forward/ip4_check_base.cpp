// SPDX-License-Identifier: BSD-3-Clause
#include "ip4_check_group.hpp"

namespace halfpoll
{

bool ip4_check_base(ip4_burst &burst, unsigned n) noexcept { return group<4>::check_all(burst, n); }

} // namespace halfpoll
