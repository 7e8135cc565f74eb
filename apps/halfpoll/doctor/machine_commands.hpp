// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <CLI/CLI.hpp>

#include <functional>

namespace halfpoll
{

/// Adds `check`, `doctor`, `bind` and `unbind`, which work on the machine and need no running halfpoll. When one of
/// them is parsed, `command` becomes what carries it out and returns the exit status.
void add_machine_commands(CLI::App &app, std::function<int()> &command);

} // namespace halfpoll
