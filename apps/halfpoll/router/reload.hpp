// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "apps/halfpoll/config/config_diff.hpp"
#include "router.hpp"

namespace halfpoll
{

/// Brings a running router to another configuration while packets flow, all of it or nothing: ports that are not in the
/// diff are not touched. Throws `error` if it cannot, after everything is as it was. Control thread.
void apply_config(router &r, const config &wanted, const config_diff &diff);

} // namespace halfpoll
