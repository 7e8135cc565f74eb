// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "apps/halfpoll/config/config.hpp"

namespace halfpoll
{

/// Forwards until SIGTERM, SIGINT, SIGHUP or a request to stop. Throws `error` if it cannot start.
void run(const config &cfg);

} // namespace halfpoll
