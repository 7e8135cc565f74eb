// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <CLI/CLI.hpp>

#include <functional>

namespace halfpoll
{

/// Adds `check`, `doctor`, `bind` and `unbind`, which work on the machine and need no running halfpoll. Parsing one of
/// them sets `command` to a function that executes it and returns the exit status.
void add_machine_commands(CLI::App &app, std::function<int()> &command);

} // namespace halfpoll
