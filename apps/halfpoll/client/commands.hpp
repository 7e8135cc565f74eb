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

/// What the command line asks for; the subcommand that was given sets `run`, which answers the exit status.
struct command_line {
    std::string control = DEFAULT_CONTROL;
    std::function<int()> run;
};

// Each adds subcommands that talk to a running halfpoll. `line` lives longer than `app`.
void add_show(CLI::App &app, command_line &line);
void add_set(CLI::App &app, command_line &line);
void add_reload(CLI::App &app, command_line &line);
void add_cpu(CLI::App &app, command_line &line);
void add_xdp(CLI::App &app, command_line &line);
/// `xdp` is the subcommand of that name.
void add_xdp_map(CLI::App &xdp, command_line &line);
void add_trace(CLI::App &app, command_line &line);
void add_stop(CLI::App &app, command_line &line);
/// For shell completion: the names that the other commands take.
void add_names(CLI::App &app, command_line &line);

/// --control, which all of them have.
void add_control(CLI::App &command, command_line &line);

} // namespace halfpoll
