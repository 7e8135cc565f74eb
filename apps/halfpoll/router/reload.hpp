// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "apps/halfpoll/config/config_diff.hpp"
#include "router.hpp"

namespace halfpoll
{

/// Changes a running router to another configuration while packets flow, completely or not at all. Ports that are not
/// in `diff` are not touched. On failure it restores the former state and throws `error`, which lists the parts that it
/// could not restore. Control thread.
void apply_config(router &r, const config &wanted, const config_diff &diff);

} // namespace halfpoll
