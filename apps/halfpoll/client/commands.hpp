// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "apps/halfpoll/config/config.hpp"

#include <functional>
#include <string>

namespace CLI
{
class App;
}

namespace halfpoll
{

/// The result of parsing the command line: the given subcommand sets `run`, which returns the exit status.
struct command_line {
    std::string control = DEFAULT_CONTROL;
    std::function<int()> run;
};

// Each of these adds subcommands that talk to a running halfpoll. `line` outlives `app`.
void add_show(CLI::App &app, command_line &line);
void add_set(CLI::App &app, command_line &line);
void add_reload(CLI::App &app, command_line &line);
void add_cpu(CLI::App &app, command_line &line);
void add_xdp(CLI::App &app, command_line &line);
/// `xdp` is the subcommand that add_xdp() makes.
void add_xdp_map(CLI::App &xdp, command_line &line);
void add_trace(CLI::App &app, command_line &line);
void add_stop(CLI::App &app, command_line &line);
/// Adds `names`, for shell completion: it prints the names that the other commands take.
void add_names(CLI::App &app, command_line &line);

/// Adds --control, which all these subcommands have.
void add_control(CLI::App &command, command_line &line);

} // namespace halfpoll
